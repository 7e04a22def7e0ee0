# SPDX-License-Identifier: Apache-2.0
"""A guard that runs as in a pod, with --kubernetes, against an ApiServer."""

import uuid

from . import run as r
from .guard import Guard


class KubeGuard(Guard):
    """More attributes: api, namespace, uid_of_pod, labels_file, agent_token, state."""

    def __init__(self, api, namespace, *, service_account="agent", labels=None, stale_after=600, **kw):
        environment, self.account = api.account(namespace, service_account)
        super().__init__({}, namespace=namespace, service_account=service_account,
                         env=environment, **kw)
        self.api = api
        self.namespace = namespace
        self.uid_of_pod = str(uuid.uuid4())
        self.stale_after = stale_after
        self.labels_file = self.dir / "labels"
        self.set_labels(labels or {})
        self.agent_token = r.write_file(self.dir / "agent-token", "agent-token-1")
        self.state = self._subdir("state", 0o700)

    def set_labels(self, labels):
        r.write_file(self.labels_file, "\n".join(f'{k}="{v}"' for k, v in labels.items()))

    def argv(self):
        a = super().argv()
        at = a.index("--policies")
        del a[at:at + 2]
        if "--labels" in a:
            at = a.index("--labels")
            del a[at:at + 2]
        return [*map(str, ["--kubernetes", "--kube-account", self.account, "--pod-uid", self.uid_of_pod,
                           "--labels-file", self.labels_file, "--agent-token", self.agent_token,
                           "--state", self.state, "--stale-after", self.stale_after]), *a]

