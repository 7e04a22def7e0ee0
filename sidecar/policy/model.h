/* SPDX-License-Identifier: Apache-2.0
 * What loading makes of the files and deciding reads: policies and their rules. Everything
 * lives in the snapshot's arena and does not change once loaded.
 */
#pragma once

#include <stdatomic.h>

#include "pattern.h"
#include "policy.h"

/* ---- rules ---- */

enum rule_action { ACTION_DENY = 0, ACTION_APPROVE, ACTION_ALLOW, ACTION_MASK };
enum rule_where { RULE_WHERE_ANY = 0, RULE_WHERE_ABSENT, RULE_WHERE_PRESENT, RULE_WHERE_COUNT };

struct sql_match {
    opset operations;
    struct array relations; /* struct name_pattern; none: any, and statements without one */
    struct array functions; /* struct name_pattern */
    struct array columns;   /* struct column_mask, of Mask rules */
    unsigned where;         /* enum rule_where */
};

struct kube_match {
    struct array verbs, resources, groups, namespaces, names; /* struct pattern; none: any */
    struct array urls;                                        /* struct pattern: non-resource */
    struct array argv;   /* struct array of const char *: whole command lines of pods/exec */
    struct array fields; /* const char *: what a Mask rule masks */
    struct array env;    /* struct pattern: names of variables whose values are masked */
    unsigned dry_run;    /* only requests that store nothing */
};

struct ssh_match {
    unsigned requests;  /* bits of enum ssh_request */
    struct array argv;  /* struct array of const char *: whole command lines */
    struct array paths; /* const char *: absolute, with * and ** */
    unsigned access;    /* bits of enum ssh_access */
    unsigned hazards;   /* bits of enum ssh_hazard */
    unsigned as_is;     /* output: AsIs: not searched for values */
};

struct policy;

struct rule {
    const char *name;
    unsigned line;
    unsigned action; /* enum rule_action */
    const struct policy *policy;
    const char *message;   /* NULL: none */
    struct sql_match *sql; /* NULL: the rule has no such section */
    struct kube_match *kube;
    struct ssh_match *ssh;
    uint32_t detectors;                 /* of Mask rules with `values` */
    enum mask_method method;            /* of Mask rules */
    struct approval_settings *approval; /* of RequireApproval rules */
};

/* The stricter of two approval rules, either may be NULL: more people; then named approvers before
 * anyone; then fewer who may approve; then nobody for himself; then with a reason; then fewer uses;
 * then the shorter life of the grant; then a. */
const struct rule *rule_stricter(const struct rule *a, const struct rule *b);

/* ---- whom and what a policy covers ---- */

enum label_operator {
    LABEL_EQUALS = 0,
    LABEL_IN,
    LABEL_NOT_IN,
    LABEL_EXISTS,
    LABEL_DOES_NOT_EXIST
};

struct label_match {
    const char *key;
    unsigned op;         /* enum label_operator */
    struct array values; /* const char * */
};

struct label_selector {
    struct array labels, expressions; /* struct label_match; all must hold */
};

struct subject {
    struct label_selector *pods;       /* NULL: any pod */
    struct label_selector *namespaces; /* NULL: any; cluster policies only */
    struct array service_accounts;     /* const char *; none: any */
    struct array groups;               /* const char *; none: any, even without a token */
    struct array claims;               /* struct label_match, LABEL_IN; all must hold; none: any */
};

struct target_ref {
    const char *name;
    const char *file; /* where it stands, for errors found when all files are loaded */
    unsigned line;
    size_t index;
    struct array databases;  /* struct pattern; none: any */
    struct array namespaces; /* struct pattern: of a Kubernetes target; none: any */
    const char *user, *role; /* credentials: whom the guard logs in as; NULL: not said */
};

struct destination { /* spec.egress */
    struct target_host host;
    struct array ports; /* uint16_t */
};

/* ---- policies ---- */

struct ruleindex;

struct policy {
    bool cluster;
    const char *name;
    const char *namespace_; /* NULL: of a cluster policy, and when the file gives none: any */
    unsigned mode;          /* enum policy_mode */
    struct array subjects;  /* struct subject; none: every agent */
    struct array targets;   /* struct target_ref; none: every target */
    struct array rules;     /* struct rule */
    struct array egress;    /* struct destination */
    struct recording_settings recording;
    struct identity_settings identity;
    size_t n_column_masks;
    struct ruleindex *index;
};

bool policy_selects(const struct policy *p, const struct agent *agent);
bool policy_covers(const struct policy *p, const struct target *t, const char *database);
/* Puts together what the policy says about logging in there with what others said. */
void policy_settle_identity(const struct policy *p, const struct target *t, const char *database,
                            struct identity_settings *ret);

/* ---- snapshot ---- */

enum object_kind { OBJECT_POLICY = 0, OBJECT_CLUSTER_POLICY, OBJECT_TARGET };

struct loaded { /* one object of any kind, as it was read */
    struct loaded *next;
    enum object_kind kind;
    const char *name, *namespace_; /* namespace_ NULL: none */
    const char *file;
    unsigned line;
    uint8_t digest[32]; /* of kind, name, namespace and spec */
    union {
        struct policy *policy;
        struct target *target;
    };
};

struct policy_snapshot {
    atomic_uint refs;
    uint64_t generation;
    char digest[65];
    struct arena arena;
    struct loaded *objects; /* while loading */
    size_t n_objects;
    const struct policy **policies; /* by name: cluster policies first */
    size_t n_policies;
    const struct target **targets;
    size_t n_targets;
};

/* An empty snapshot with one reference, or NULL. */
struct policy_snapshot *snapshot_new(void);
/* Sorts the objects, gives the snapshot its digest and its generation. */
int snapshot_finish(struct policy_snapshot *s) MUST_CHECK;

/* ---- parsers of spec ---- */

int policy_parse_spec(const struct place *at, struct policy *ret) MUST_CHECK;
int target_parse_spec(const struct place *at, struct target *ret) MUST_CHECK;

place_parser rule_parse;            /* struct rule */
place_parser match_parse_sql;       /* struct sql_match * */
place_parser match_parse_kube;      /* struct kube_match * */
place_parser match_parse_ssh;       /* struct ssh_match * */
place_parser match_parse_argv;      /* struct array of struct array of const char * */
place_parser rule_parse_approval;   /* struct approval_settings * */
place_parser subject_parse;         /* struct subject */
place_parser cluster_subject_parse; /* struct subject */
place_parser target_ref_parse;      /* struct target_ref */
place_parser destination_parse;     /* struct destination */
place_parser host_parse;            /* struct target_host */
place_parser ports_parse;           /* struct array of uint16_t */

/* Settings of a RequireApproval rule that says nothing about them. */
struct approval_settings rule_approval_defaults(void);

/* "60s", "1h30m" */
int place_duration(const struct place *at, uint32_t min_s, uint32_t max_s,
                   uint32_t *ret_s) MUST_CHECK;
