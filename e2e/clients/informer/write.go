// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"os"

	v1 "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// What typed clients are told when they write, as they are made (protobuf, since client-go 0.33) and when asked for JSON.
func write(config *rest.Config, ns string) {
	out := map[string]map[string]string{}
	for _, contentType := range []string{"", "application/json"} {
		config.ContentType = contentType
		client, err := kubernetes.NewForConfig(config)
		must(err)
		out["as:"+contentType] = attempts(client, ns)
	}
	must(json.NewEncoder(os.Stdout).Encode(out))
}

func attempts(client *kubernetes.Clientset, ns string) map[string]string {
	ctx, told := context.Background(), map[string]string{}
	say := func(what string, err error) {
		told[what] = "ok"
		if err != nil {
			told[what] = err.Error()
		}
	}
	meta := metav1.ObjectMeta{Name: "typed-write"}
	once := metav1.CreateOptions{}
	_, err := client.CoreV1().ConfigMaps(ns).Create(ctx, &v1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"a": "b"}}, once)
	say("configmap", err)
	_, err = client.CoreV1().ConfigMaps(ns).Patch(ctx, "typed-write", types.MergePatchType, []byte(`{"data":{"a":"c"}}`), metav1.PatchOptions{})
	say("patch", err)
	say("delete", client.CoreV1().ConfigMaps(ns).Delete(ctx, "typed-write", metav1.DeleteOptions{}))
	_, err = client.CoreV1().Secrets(ns).Create(ctx, &v1.Secret{ObjectMeta: meta, StringData: map[string]string{"a": "b"}}, once)
	say("secret", err)
	_, err = client.CoreV1().Pods(ns).Create(ctx, &v1.Pod{ObjectMeta: meta, Spec: v1.PodSpec{
		Containers: []v1.Container{{Name: "c", Image: "none.invalid/none", ImagePullPolicy: v1.PullNever}}}}, once)
	say("pod", err)
	say("evict", client.PolicyV1().Evictions(ns).Evict(ctx, &policy.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "typed-write", Namespace: ns}}))
	_ = client.CoreV1().Secrets(ns).Delete(ctx, "typed-write", metav1.DeleteOptions{})
	return told
}
