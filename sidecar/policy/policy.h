/* SPDX-License-Identifier: Apache-2.0
 * GuardPolicy, ClusterGuardPolicy and GuardTarget: loading, validating, deciding.
 *
 * A snapshot is everything that was loaded at one moment; it is immutable and reference-
 * counted, and sessions swap to a newer one between messages. A view is the part of a snapshot
 * that applies to one agent on one target and database, compiled for deciding. Loading may
 * block; views and decisions do not. Any thread may hold references.
 */
#pragma once

#include "src-common/bytes.h"
#include "src-common/error.h"
#include "statement.h"

#include <netinet/in.h>
#include <sys/socket.h>

/* ---- the agent, as verified ---- */

struct agent {
    const char *namespace_; /* of the pod */
    const char *pod;
    const char *service_account;
    const char *const *labels; /* key, value, key, value, …, NULL */
    const char *const *groups; /* verified token groups, NULL-terminated; NULL: no token */
    const char *const *claims; /* of the token: name, value, name, value, …, NULL; or NULL */
    const char *pod_uid;       /* NULL: not known */
    const char *token_key;     /* tells one verified token's content from another; NULL: no token */
};

/* ---- GuardTarget ---- */

enum target_protocol {
    TARGET_UNKNOWN = 0,
    TARGET_POSTGRES,
    TARGET_SSH,
    TARGET_KUBERNETES,
    TARGET_TCP
};
/* Whether the agent has to present a token where the guard logs in for it. */
enum target_token {
    TARGET_TOKEN_WITH_ISSUERS = 0, /* not said: when the guard has issuers to check it with */
    TARGET_TOKEN_ALWAYS,
    TARGET_TOKEN_NEVER /* the pod's own identity is enough */
};
enum target_tls { TARGET_TLS_VERIFY_FULL = 0, TARGET_TLS_REQUIRE, TARGET_TLS_DISABLE };

struct target_host {              /* one entry of spec.hosts */
    const char *name;             /* as written; a DNS name when prefix_len is -1 */
    struct sockaddr_storage addr; /* address or network, when prefix_len >= 0 */
    int prefix_len;
};

struct target {
    const char *name, *namespace_;
    enum target_protocol protocol;
    const struct target_host *hosts;
    size_t n_hosts;
    const uint16_t *ports;
    size_t n_ports;
    enum target_tls tls;
    const char *tls_server_name;            /* NULL: the host */
    const char *tls_ca_secret, *tls_ca_key; /* NULL: the system's roots */
    const char *credentials_secret;         /* NULL: the agent's own login is relayed */
    enum target_token token;                /* with credentials_secret */
    const char *const *ssh_host_keys;       /* NULL-terminated, or NULL */
};

/* ---- masks ---- */

enum mask_method {
    MASK_NONE = 0,
    MASK_PARTIAL,
    MASK_TOKEN,
    MASK_REDACT,
    MASK_NULL
}; /* by strength */

struct column_mask { /* one pattern of a Mask rule's sql.columns: schema.relation.column, with * */
    const char *schema, *relation, *column;
    enum mask_method method; /* default Redact */
    bool allow_predicates;   /* mask.predicates: Allow */
    bool allow_write_back;   /* mask.writeBack: Allow */
    const char *rule;
};

/* ---- snapshot ---- */

struct policy_snapshot;

/* Reads every *.yaml and *.yml of a directory (not its subdirectories), in name order; a file
 * may hold several documents. -EINVAL with "FILE:LINE: FIELD: reason" for the first thing that is
 * wrong (unknown fields, wrong types, unknown words, duplicate names, references to targets
 * that do not exist, a namespaced policy that names another namespace …); other errno values
 * when the directory cannot be read. An empty directory is a valid, closed policy. */
int policy_load_dir(const char *dir, struct policy_snapshot **ret, struct error *err) MUST_CHECK;
/* As policy_load_dir, from text, for tests, fuzzing and the API server's objects. */
int policy_load_text(struct bytes yaml, const char *file_name, struct policy_snapshot **ret,
                     struct error *err) MUST_CHECK;
/* Where objects come one by one a policy may name a GuardTarget that is not there yet. It covers
 * nothing of that target until there is one. */
struct policy_missing {
    void (*tell)(const char *policy, size_t index, const char *target,
                 void *arg); /* of spec.targets */
    void *arg;
};
/* As policy_load_text, but targets that are not there are told to `missing`. */
int policy_load_incomplete(struct bytes yaml, const char *file_name,
                           const struct policy_missing *missing, struct policy_snapshot **ret,
                           struct error *err) MUST_CHECK;
struct policy_snapshot *policy_snapshot_ref(struct policy_snapshot *s);
void policy_snapshot_unref(struct policy_snapshot *s); /* accepts NULL */
DEFINE_CLEANUP(struct policy_snapshot *, policy_snapshot_unref)
/* Grows with every load in this process; approvals bind it. */
uint64_t policy_snapshot_generation(const struct policy_snapshot *s);
/* SHA-256 over the canonical content (sorted, without file names), lower-case hex. Equal
 * content, equal digest, across restarts. */
const char *policy_snapshot_digest(const struct policy_snapshot *s);

/* Targets live as long as the snapshot. NULL when there is none. */
const struct target *policy_target_by_name(const struct policy_snapshot *s, const char *ns,
                                           const char *name);
size_t policy_n_targets(const struct policy_snapshot *s);
const struct target *policy_target_at(const struct policy_snapshot *s, size_t i);
/* True when the address (v4, v6, or v4-mapped v6) is that host entry, which is an address or
 * network; DNS names never match here: net/ resolves them. */
bool target_host_matches(const struct target_host *h, const struct sockaddr *addr);
bool target_has_port(const struct target *t, uint16_t port);

/* ---- view ---- */

enum policy_mode { POLICY_ENFORCE = 0, POLICY_AUDIT };

/* What spec.recording says; the strictest policy of the view wins. */
struct recording_settings {
    bool required;             /* default true */
    bool statements_only;      /* content: Statements */
    uint64_t max_result_bytes; /* per statement; default 1 MiB. More is counted, not kept. */
    bool to_disk;              /* durability: Node */
};

/* What the policies of a view say about logging in; the strictest wins, in whatever mode. */
struct identity_settings {
    bool require_token;     /* no session without a verified token */
    bool require_injection; /* the agent's own login is not relayed */
    bool end_at_expiry;     /* the session ends with its token at once, not within a minute */
    const char *user;       /* the guard logs in as this user; NULL: as the secret says */
    const char *role;       /* and becomes this role; NULL: none */
    char conflict[240];     /* not empty: policies contradict each other; nobody can log in */
};

struct policy_view;

/* The policies that select this agent and cover this target and database (NULL: the protocol
 * has none). A view without any policy is valid and denies everything. -ENOMEM. */
int policy_view_new(struct policy_snapshot *s, const struct agent *agent,
                    const struct target *target, const char *database,
                    struct policy_view **ret) MUST_CHECK;
struct policy_view *policy_view_ref(struct policy_view *v);
void policy_view_unref(struct policy_view *v); /* accepts NULL */
DEFINE_CLEANUP(struct policy_view *, policy_view_unref)

bool policy_view_empty(const struct policy_view *v); /* no policy selects the agent here */
const struct policy_snapshot *policy_view_snapshot(const struct policy_view *v);
const struct column_mask *policy_view_column_masks(const struct policy_view *v, size_t *n);
/* Detectors of all Mask rules with `values`: a bit set over enum detector (mask/detect.h), and
 * for each detector the strongest method any rule gives it. */
uint32_t policy_view_detectors(const struct policy_view *v);
enum mask_method policy_view_detector_method(const struct policy_view *v, unsigned detector);
const struct recording_settings *policy_view_recording(const struct policy_view *v);
const struct identity_settings *policy_view_identity(const struct policy_view *v);

/* ---- egress ---- */

/* True when a policy that selects the agent lists this destination under spec.egress. `host` is a
 * host name the address was resolved from or NULL; address entries match the address. */
bool policy_egress_allowed(const struct policy_snapshot *s, const struct agent *agent,
                           const struct sockaddr *addr, const char *host);
/* Every DNS name that egress entries of this agent use with that port, for net/ to resolve:
 * calls `visit` until it returns true; returns whether it did. */
bool policy_egress_names(const struct policy_snapshot *s, const struct agent *agent, uint16_t port,
                         bool (*visit)(const char *name, void *arg), void *arg);

/* ---- deciding ---- */

enum verdict { VERDICT_DENY = 0, VERDICT_APPROVE, VERDICT_ALLOW };

struct approval_settings {     /* of a RequireApproval rule */
    const char *const *groups; /* NULL-terminated; empty: anyone who may approve */
    const char *const *users;
    uint32_t count; /* distinct people, default 1 */
    bool allow_self, require_reason;
    bool ticket;          /* delivery: Ticket; default Hold */
    uint32_t timeout_s;   /* default 60 */
    uint32_t valid_for_s; /* default 600: how long a ticket's grant lasts */
    uint32_t uses;        /* default 1 */
};

struct decision {
    enum verdict verdict;
    enum verdict would;        /* what Enforce would have said, when mode Audit softened it */
    bool audited;              /* verdict differs from would because of mode: Audit */
    const char *policy, *rule; /* names; NULL when no rule matched. Live as long as the view */
    const char *message;       /* the rule's message, or NULL */
    const struct approval_settings *approval; /* VERDICT_APPROVE */
    char reason[256];                         /* plain words: what was refused and why */
};

/* Judges all statements of one message together: the worst verdict of any object of any of
 * them (Deny > RequireApproval > Allow; nothing matched: Deny). Does not block or allocate. */
void policy_decide(const struct policy_view *v, const struct statement *statements, size_t n,
                   struct decision *ret);
/* Detectors that do not apply to the output of an SSH request, because a rule that permits it says
 * `output: AsIs`. */
uint32_t policy_ssh_exempt(const struct policy_view *v, const struct ssh_act *act);

/* ---- masks of answers of an API server ---- */

/* One Mask rule that may concern an answer to the request. */
struct kube_mask {
    const char *rule;
    const char *const *fields; /* paths, NULL-terminated; NULL, and no env: data, stringData and
                                  binaryData */
    const void *env, *names, *namespaces; /* for the functions below */
};

/* Writes at most max; returns how many there are. */
size_t policy_kube_masks(const struct policy_view *v, const struct kube_act *act,
                         struct kube_mask *ret, size_t max);
/* Whether an object in the answer is meant; "" for what it does not say. */
bool policy_kube_mask_covers(const struct kube_mask *m, const char *namespace_, const char *name);
/* Whether the values of an environment variable of that name are masked. */
bool policy_kube_mask_env(const struct kube_mask *m, const char *variable);
/* Whether both mask the same. */
bool policy_kube_mask_same(const struct kube_mask *a, const struct kube_mask *b);
/* Whether the rule names variables at all. */
bool policy_kube_mask_has_env(const struct kube_mask *m);
