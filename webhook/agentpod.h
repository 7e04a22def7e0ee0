/* SPDX-License-Identifier: Apache-2.0
 * What an agent's containers may have and may not: the rules that keep the guard from being gone
 * around. Pure functions over a pod whose shape was checked.
 */
#pragma once

#include "guardpod.h"
#include "review.h"
#include "secrets.h"

#define AGENTPOD_TRUST_PATH  "/run/chaperone/trust"
#define AGENTPOD_KNOWN_HOSTS "/etc/ssh/ssh_known_hosts"
#define AGENTPOD_LABEL       "chaperone.dev/injected"

/* Capabilities that every container of the agent drops. */
extern const char *const agentpod_drop_names[];
extern const size_t agentpod_n_drops;
/* By its name, or by ALL, as the container runtimes read them. */
bool agentpod_drops(struct json_object *drop, const char *capability);

/* Volumes with a token that the API server takes: only the guard has one. ServiceAccount
 * admission's own volume is let through: injection takes it out. */
void agentpod_check_tokens(const struct config *c, struct json_object *pod, struct answer *a);
/* The agent must not be given a login that the guard keeps from it. */
void agentpod_check_logins(struct json_object *pod, const struct secrets *s, struct answer *a);
/* The same for the variables of one container. */
void agentpod_check_variables(const struct pod_walk *w, const struct secrets *s, struct answer *a);
/* Fields of the pod itself: host namespaces, hostPath, seccomp, Windows, names of hosts. */
void agentpod_check_pod(struct json_object *pod, struct answer *a);
/* The pod, and what its containers ask for; not what injection sets by itself. The API server would
 * refuse some of it only after injection, with words that explain nothing. */
void agentpod_check_wishes(struct json_object *pod, struct answer *a);
/* One container: privileges, capabilities, mounts; users and groups when ids are given. */
void agentpod_check_container(const struct config *c, struct json_object *pod,
                              const struct pod_walk *w, struct answer *a);
