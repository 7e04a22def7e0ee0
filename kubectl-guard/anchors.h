/* SPDX-License-Identifier: Apache-2.0
 * What Events say about records: the hash of a line of one, at a moment. Who holds the records
 * cannot change that, so what was cut off behind such a line, or written anew, shows.
 */
#pragma once

#include "cli.h"

#include "sidecar/record/record.h"
#include "sidecar/record/signer.h"
#include "src-common/error.h"

struct anchors;
/* Reads Events from a file, or "-": what `kubectl get events -o json` prints, an array, or an Event
 * a line. -errno, with err. */
int anchors_load(const char *path, struct anchors **ret, struct error *err) MUST_CHECK;
/* --anchors ANCHORS_CLUSTER: the guards' Events that the cluster still has, through kubectl: of the
 * namespace, or of all with -A. Blocks; on failure it was said. */
#define ANCHORS_CLUSTER "events"
bool anchors_of_cluster(const struct cli *cli); /* is that what the command line says? */
enum exit_code anchors_fetch(const struct cli *cli, struct anchors **ret);
void anchors_free(struct anchors *a); /* accepts NULL */
size_t anchors_count(const struct anchors *a);
/* The keys that guards said they sign with. */
const struct trusted_keys *anchors_keys(const struct anchors *a);

/* For the checker: whether its lines are those that Events name. */
struct record_heads anchors_heads(struct anchors *a);
/* After a record was read: bad, when Events name a line behind its last. False: no Event names one
 * of its lines, so that they say nothing about it. */
bool anchors_check_end(struct anchors *a, struct record_check *c);
/* Records that Events of the pod whose folder this is name and that were not read. With one pod's
 * Events alone any folder is taken for its. Number of complaints. */
typedef void anchors_complain_fn(const char *text, void *arg);
size_t anchors_missing(struct anchors *a, const char *dir, anchors_complain_fn *fn, void *arg);
