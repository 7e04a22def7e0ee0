# SPDX-License-Identifier: Apache-2.0
"""kubeclient.py NAMESPACE NAME [SERVER TOKEN]: what an agent does with the package `kubernetes`, and what it saw, as JSON.
Without a server: with the configuration that a pod finds. Objects that it makes are called NAME, and are deleted again."""

import json
import sys
import threading

from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import portforward, stream

namespace, name = sys.argv[1:3]
if len(sys.argv) > 3:
    configuration = client.Configuration(host=sys.argv[3], api_key={"authorization": f"Bearer {sys.argv[4]}"})
    configuration.verify_ssl = False
    __import__("urllib3").disable_warnings()
    client.Configuration.set_default(configuration)
else:
    config.load_incluster_config()
core, apps = client.CoreV1Api(), client.AppsV1Api()
label = {"made-by": name}


def seen_by_a_watch():
    """Types and data of the three changes below, as they come."""
    seen, watcher = [], watch.Watch()
    for event in watcher.stream(core.list_namespaced_config_map, namespace, label_selector=f"made-by={name}", timeout_seconds=20,
                                resource_version=start):
        seen.append([event["type"], event["object"].data])
        if event["type"] == "DELETED":
            watcher.stop()
    return seen


def config_map():
    meta = {"name": name, "labels": label}
    yield core.create_namespaced_config_map(namespace, {"metadata": meta, "data": {"a": "\u00e9\U0001f980"}}).data
    yield core.patch_namespaced_config_map(name, namespace, {"data": {"b": "c"}}).data
    got = core.read_namespaced_config_map(name, namespace)
    got.data["d"] = "e"
    yield core.replace_namespaced_config_map(name, namespace, got).data
    yield client.ApiClient().sanitize_for_serialization(core.delete_namespaced_config_map(name, namespace))["status"]


def refusal(call, *args):
    try:
        call(*args)
    except ApiException as e:
        return [e.status, json.loads(e.body)["reason"]]
    return None


def in_the_pod(*command, **options):
    return stream(core.connect_get_namespaced_pod_exec, "worker", namespace, command=list(command), stderr=True, stdout=True,
                  **{"stdin": False, "tty": False, **options})


def conversation():
    """With an interactive stream: standard input, both outputs, and the exit status."""
    talk = in_the_pod("sh", "-c", "read a; echo got $a; echo bad >&2; exit 3", stdin=True, _preload_content=False)
    talk.write_stdin("hello\n")
    talk.run_forever(timeout=20)
    return [talk.read_stdout(), talk.read_stderr(), talk.returncode]


def forwarded():
    forward = portforward(core.connect_get_namespaced_pod_portforward, "worker", namespace, ports="8081")
    sock = forward.socket(8081)
    sock.setblocking(True)
    sock.sendall(b"GET /openssl.cnf HTTP/1.0\r\n\r\n")
    got = b""
    while chunk := sock.recv(65536):
        got += chunk
    return [got.split(b" ")[1].decode(), len(got.split(b"\r\n\r\n", 1)[1])]


start = core.list_namespaced_config_map(namespace).metadata.resource_version
watched = []
watcher = threading.Thread(target=lambda: watched.extend(seen_by_a_watch()))
watcher.start()
told = {
    "config map": list(config_map()),
    "pods": sorted(p.metadata.name for p in core.list_namespaced_pod(namespace, label_selector="app in (worker, talker)").items),
    "pages": len(core.list_namespaced_pod(namespace, limit=1).items),
    "scale": apps.read_namespaced_deployment_scale("app", namespace).spec.replicas,
    "patched scale": apps.patch_namespaced_deployment_scale("app", namespace, {"spec": {"replicas": 1}}).spec.replicas,
    "log": core.read_namespaced_pod_log("talker", namespace, limit_bytes=14),
    "secret": core.read_namespaced_secret("login", namespace).data["password"],
    "exec": in_the_pod("echo", "hi \u00e9"), "conversation": conversation(), "forwarded": forwarded(),
    "missing": refusal(core.read_namespaced_pod, "no-such-pod", namespace),
    "invalid": refusal(core.create_namespaced_config_map, namespace, {"metadata": {"name": "NOT VALID"}}),
    "forbidden": refusal(core.delete_node, "no-such-node"),
    "custom": sorted(client.CustomObjectsApi().list_namespaced_custom_object("apps", "v1", namespace, "deployments")),
}
watcher.join(30)
print(json.dumps({**told, "watched": watched}))
