// SPDX-License-Identifier: Apache-2.0
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"sync"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// One line of output. What the guard may mask is in it, too: its reader compares.
type seen struct {
	Event  string            `json:"event"`
	Kind   string            `json:"kind,omitempty"`
	Name   string            `json:"name,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
	Data   map[string]string `json:"data,omitempty"`
}

type printer struct {
	lock sync.Mutex
	out  *json.Encoder
}

func (p *printer) print(s seen) {
	p.lock.Lock()
	defer p.lock.Unlock()
	must(p.out.Encode(s))
}

func describe(event string, o any) seen {
	if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = gone.Obj
	}
	meta := o.(metav1.Object)
	s := seen{Event: event, Name: meta.GetName(), Labels: meta.GetLabels(), Data: map[string]string{}}
	switch object := o.(type) {
	case *v1.ConfigMap:
		s.Kind, s.Data = "ConfigMap", object.Data
	case *v1.Secret:
		s.Kind = "Secret"
		for k, v := range object.Data {
			s.Data[k] = string(v)
		}
	case *v1.Pod:
		s.Kind = "Pod"
	}
	return s
}

func (p *printer) handler() cache.ResourceEventHandlerFuncs {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { p.print(describe("add", o)) },
		UpdateFunc: func(old, o any) {
			// A list anew updates what has not changed, too.
			if old.(metav1.Object).GetResourceVersion() != o.(metav1.Object).GetResourceVersion() {
				p.print(describe("update", o))
			}
		},
		DeleteFunc: func(o any) { p.print(describe("delete", o)) },
	}
}

// Prints what shared informers on ConfigMaps, Secrets and Pods see; on each line of input what they hold, and returns
// when the input ends.
func watch(client kubernetes.Interface, namespace string, in io.Reader) {
	p := &printer{out: json.NewEncoder(os.Stdout)}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace))
	core := factory.Core().V1()
	all := []cache.SharedIndexInformer{core.ConfigMaps().Informer(), core.Secrets().Informer(), core.Pods().Informer()}
	for _, i := range all {
		_, err := i.AddEventHandler(p.handler())
		must(err)
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	p.print(seen{Event: "synced"})
	for lines := bufio.NewScanner(in); lines.Scan(); {
		for _, i := range all {
			for _, o := range i.GetStore().List() {
				p.print(describe("held", o))
			}
		}
		p.print(seen{Event: "end", Name: lines.Text()})
	}
}
