/* SPDX-License-Identifier: Apache-2.0
 * The controller: roles of enabled namespaces, status of policies, end of approval requests. Every
 * replica runs it, without electing one: each step looks at what is there, makes it what it has to
 * be, and takes a conflict for another replica's work. A lease would save some reads, and cost the
 * time until it is taken over.
 */
#pragma once

#include "src-common/error.h"
#include "src-common/kube/kube.h"

struct controller;
int controller_start(struct kube *k, struct controller **ret, struct error *err) MUST_CHECK;
void controller_stop(struct controller *c); /* accepts NULL */
/* For metrics; 0 for NULL. */
unsigned long long controller_rounds(const struct controller *c);
unsigned long long controller_failures(const struct controller *c);
