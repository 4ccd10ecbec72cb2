// Command renders is Helm for many command lines: what is a process of its own for `helm` spends
// half of its time on its start.
//
// Each line of standard input is the arguments of one, as JSON; each line of standard output is
// whether it failed, and what it printed.
package main

import (
	"encoding/json"
	"io"
	"log"
	"os"
	"strings"

	"helm.sh/helm/v4/pkg/cmd"
)

type answer struct {
	Failed bool   `json:"failed"`
	Output string `json:"output"`
}

func main() {
	asked, answers := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var arguments []string
		if err := asked.Decode(&arguments); err == io.EOF {
			return
		} else if err != nil {
			log.Fatal(err)
		}
		if err := answers.Encode(helm(arguments)); err != nil {
			log.Fatal(err)
		}
	}
}

func helm(arguments []string) answer {
	var output, errors strings.Builder
	root, err := cmd.NewRootCmd(&output, arguments, cmd.SetupLogging)
	if err != nil {
		return answer{true, err.Error()}
	}
	root.SetArgs(arguments) // it would take those of this process
	root.SetErr(&errors)
	if err := root.Execute(); err != nil {
		return answer{true, errors.String()}
	}
	return answer{false, output.String()}
}
