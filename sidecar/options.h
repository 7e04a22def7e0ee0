/* SPDX-License-Identifier: Apache-2.0
 * The guard's command line.
 */
#pragma once

#include "net/listener.h"
#include "policy/policy.h"
#include "record/s3.h"
#include "src-common/error.h"

#define OPTIONS_MAX_LISTEN 32
#define OPTIONS_MAX_LABELS 64

struct options {
    const char *policies, *secrets, *issuers, *issuers_inline, *spool, *control, *status, *trust,
        *state;
    const char *labels_file, *agent_token, *kube_account;
    bool kubernetes;
    struct listener_explicit listen[OPTIONS_MAX_LISTEN];
    size_t n_listen;
    uint16_t capture_port;
    struct s3_config s3;
    const char *encrypt_to, *encrypt_to_inline;
    uint64_t spool_limit, segment_bytes;
    unsigned segment_seconds, anchor_seconds;
    bool seal;
    unsigned workers, max_sessions, handshake_timeout_s, stale_after_s;
    const char *log_level;
    struct agent agent;
    const char *labels[2 * OPTIONS_MAX_LABELS + 1];
};

/* 0: run; 1: help or version was printed; -EINVAL: err names the option and the remedy. Strings
 * point into argv, which is changed. */
int options_parse(int argc, char **argv, struct options *ret, struct error *err) MUST_CHECK;
