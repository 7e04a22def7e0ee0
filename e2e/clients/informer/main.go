// SPDX-License-Identifier: Apache-2.0

// informer KUBECONFIG NAMESPACE [watch|write]: client-go's shared informers on ConfigMaps and Secrets, a typed create, and what the
// informers saw, as JSON. With `watch` they go on (watch.go). KUBECONFIG may be empty: the configuration of the pod.
package main

import (
	"context"
	"encoding/json"
	"os"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

func must(err error) {
	if err != nil {
		println(err.Error())
		os.Exit(1)
	}
}

func main() {
	config, err := clientcmd.BuildConfigFromFlags("", os.Args[1])
	must(err)
	client, err := kubernetes.NewForConfig(config)
	must(err)
	ns := os.Args[2]
	if len(os.Args) > 3 && os.Args[3] == "write" {
		write(config, ns)
		return
	}
	if len(os.Args) > 3 {
		watch(client, ns, os.Stdin)
		return
	}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(ns))
	maps, secrets := factory.Core().V1().ConfigMaps(), factory.Core().V1().Secrets()
	var lock sync.Mutex
	added := map[string]bool{}
	_, err = maps.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(o any) {
		lock.Lock()
		defer lock.Unlock()
		added[o.(*v1.ConfigMap).Name] = true
	}})
	must(err)
	secrets.Informer()
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	factory.Start(ctx.Done())
	for _, ok := range factory.WaitForCacheSync(ctx.Done()) {
		if !ok {
			println("not synced")
			os.Exit(1)
		}
	}
	_, err = client.CoreV1().ConfigMaps(ns).Create(ctx, &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "typed"},
		Data: map[string]string{"a": "b"}}, metav1.CreateOptions{})
	must(err)
	for ctx.Err() == nil {
		lock.Lock()
		seen := added["typed"]
		lock.Unlock()
		if seen {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	out := map[string]any{"seen": added["typed"], "secrets": map[string]string{}}
	for _, o := range secrets.Informer().GetStore().List() {
		s := o.(*v1.Secret)
		for k, v := range s.Data {
			out["secrets"].(map[string]string)[s.Name+"/"+k] = string(v)
		}
	}
	must(client.CoreV1().ConfigMaps(ns).Delete(ctx, "typed", metav1.DeleteOptions{}))
	must(json.NewEncoder(os.Stdout).Encode(out))
}
