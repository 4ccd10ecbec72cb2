// Command oci-runtime stands in front of runc on machines that hold fewer capabilities than
// Docker's --privileged asks for: there runc cannot start such containers ("unable to apply caps").
// It takes what this process does not hold itself out of the container's configuration, raises
// negative OOM scores (which need a capability, too) to 0, and becomes runc.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Capabilities in the order of their numbers in linux/capability.h.
var capabilities = []string{
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
	"SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW",
	"IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT",
	"SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD",
	"LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
	"WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "oci-runtime:", err)
		os.Exit(1)
	}
}

func run() error {
	held, err := heldCapabilities()
	if err != nil {
		return err
	}
	// `create --bundle DIR` reads DIR/config.json, `exec --process FILE` reads FILE.
	if bundle := option("--bundle", "-b"); bundle != "" {
		path := filepath.Join(bundle, "config.json")
		if err := rewrite(path, func(config map[string]any) any { return config["process"] }, held); err != nil {
			return err
		}
	}
	if process := option("--process", "-p"); process != "" {
		if err := rewrite(process, func(config map[string]any) any { return config }, held); err != nil {
			return err
		}
	}
	runc, err := exec.LookPath("runc")
	if err != nil {
		return err
	}
	return syscall.Exec(runc, append([]string{"runc"}, os.Args[1:]...), os.Environ())
}

func option(names ...string) string {
	for i, argument := range os.Args {
		for _, name := range names {
			if value, ok := strings.CutPrefix(argument, name+"="); ok {
				return value
			}
			if argument == name && i+1 < len(os.Args) {
				return os.Args[i+1]
			}
		}
	}
	return ""
}

func heldCapabilities() (map[string]bool, error) {
	status, err := os.Open("/proc/self/status")
	if err != nil {
		return nil, err
	}
	defer status.Close()
	for lines := bufio.NewScanner(status); lines.Scan(); {
		if hex, ok := strings.CutPrefix(lines.Text(), "CapPrm:"); ok {
			bits, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			if err != nil {
				return nil, err
			}
			held := map[string]bool{}
			for number, name := range capabilities {
				held["CAP_"+name] = bits&(1<<number) != 0
			}
			return held, nil
		}
	}
	return nil, fmt.Errorf("/proc/self/status has no CapPrm line")
}

func rewrite(path string, process func(map[string]any) any, held map[string]bool) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	config := map[string]any{}
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber() // 64-bit numbers must survive unchanged
	if err := decoder.Decode(&config); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if settings, ok := process(config).(map[string]any); ok {
		reduce(settings, held)
	}
	reduced, err := json.Marshal(config)
	if err != nil {
		return err
	}
	return os.WriteFile(path, reduced, 0o600)
}

func reduce(process map[string]any, held map[string]bool) {
	if sets, ok := process["capabilities"].(map[string]any); ok {
		for set, names := range sets {
			kept := []any{}
			list, _ := names.([]any)
			for _, name := range list {
				if text, ok := name.(string); ok && held[text] {
					kept = append(kept, name)
				}
			}
			sets[set] = kept
		}
	}
	if score, ok := process["oomScoreAdj"].(json.Number); ok && strings.HasPrefix(score.String(), "-") {
		process["oomScoreAdj"] = 0
	}
}
