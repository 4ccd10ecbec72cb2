// Command network-policies enforces the NetworkPolicies of one namespace on the machine that it
// runs on, until its standard input ends: the enforcement lives no longer than the test that
// started it, however that ends. Pods that no policy of the namespace selects are left alone.
//
// The verdicts are those of sigs.k8s.io/kube-network-policies, which gets each first packet of a
// connection from the kernel. Its own program enforces all policies of a cluster, those of the
// tests next to this one as well.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

func main() {
	klog.InitFlags(nil)
	kubeconfig := flag.String("kubeconfig", "/etc/kubernetes/admin.conf", "how to reach the cluster")
	namespace := flag.String("namespace", "", "the namespace whose policies count")
	node := flag.String("node", "", "the name of this machine in the cluster")
	queue := flag.Int("queue", 0, "the kernel's queue of packets to judge, one for each of these programs")
	flag.Parse()
	if err := run(*kubeconfig, *namespace, *node, *queue); err != nil {
		fmt.Fprintln(os.Stderr, "network-policies:", err)
		os.Exit(1)
	}
}

func run(kubeconfig, namespace, node string, queue int) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	// A policy's peers may be anywhere.
	everything := informers.NewSharedInformerFactory(client, 0)
	own := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace))
	controller, err := networkpolicy.NewController(
		client,
		own.Networking().V1().NetworkPolicies(),
		everything.Core().V1().Namespaces(),
		everything.Core().V1().Pods(),
		nil, nil, nil, nil, // what belongs to cluster-wide policies
		networkpolicy.Config{
			NodeName:    node,
			NFTableName: "network-policies-" + namespace,
			QueueID:     queue,
			// Rules that outlive a killed program let packets pass.
			FailOpen: true,
			// Kernels before 6.12 lose DNS packets that are looked at too late.
			NetfilterBug1766Fix: true,
		},
	)
	if err != nil {
		return err
	}
	ctx, end := context.WithCancel(context.Background())
	go func() {
		defer end()
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	everything.Start(ctx.Done())
	own.Start(ctx.Done())
	return controller.Run(ctx)
}
