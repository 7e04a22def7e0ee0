/* SPDX-License-Identifier: Apache-2.0
 * The unit of decision, as policy sees it: what one statement does to which objects. A
 * protocol's analyser makes it, policy_decide() judges it; nothing here knows a wire format.
 * All pointers are borrowed from the analyser's arena and live as long as the statement.
 */
#pragma once

#include "src-common/base.h"

/* Name in policies, groups it belongs to. Sql operations of design "Resources". */
enum operation {
    OP_UNKNOWN = 0, /* zero is the closed choice */
    OP_SELECT,
    OP_INSERT,
    OP_UPDATE,
    OP_DELETE,
    OP_MERGE,
    OP_TRUNCATE,
    OP_COPY_IN,
    OP_COPY_OUT,
    OP_CREATE,
    OP_ALTER,
    OP_DROP,
    OP_GRANT,
    OP_REVOKE,
    OP_CALL,
    OP_DO,
    OP_SET,
    OP_SHOW,
    OP_PREPARE,
    OP_EXECUTE,
    OP_DEALLOCATE,
    OP_DECLARE,
    OP_FETCH,
    OP_CLOSE,
    OP_EXPLAIN,
    OP_LISTEN,
    OP_NOTIFY,
    OP_LOCK,
    OP_MAINTENANCE,
    OP_BEGIN,
    OP_COMMIT,
    OP_ROLLBACK,
    OP_SAVEPOINT,
    OP_FUNCTION_CALL,
    OP_REPLICATION,
    OP_COUNT
};

typedef uint64_t opset; /* 1 << enum operation */
#define OPSET(op) ((opset)1 << (op))

/* "Select", as policies write it. */
const char *operation_name(enum operation op);
/* The set that an operation's or a group's name stands for ("Select", "Read", "DDL", "*");
 * 0 for a name that is neither. Groups: Read = Select CopyOut Declare Fetch Close; Write =
 * Insert Update Delete Merge Truncate CopyIn; DDL = Create Alter Drop Truncate; Privilege =
 * Grant Revoke; Transaction = Begin Commit Rollback Savepoint; Session = Set Show Prepare
 * Execute Deallocate Declare Fetch Close Listen Notify; "*" = all but FunctionCall,
 * Replication and Unknown. */
opset operation_parse(const char *name);

enum where_clause {
    WHERE_NOT_APPLICABLE = 0,
    WHERE_ABSENT, /* none, or one that is true for every row (WHERE true, 1=1, id=id) */
    WHERE_PRESENT,
};

/* One thing that a statement does to one relation, or to no relation in particular. */
struct object {
    enum operation op;
    enum where_clause where; /* Update and Delete only; Merge's actions count as absent */
    const char *schema;      /* NULL: name not found in the catalogue; `guess` says where it
                                would be, and a Deny matches it in every schema */
    const char *guess;       /* first schema of the search path, when schema is NULL */
    const char *name;        /* relation; NULL when the operation has none */
    bool implied;            /* judged by what is inside (Explain, Prepare, Declare, …): needs no
                                Allow of its own, but a Deny or RequireApproval that names it holds */
    bool metadata;           /* harmless system catalogue: any rule that allows Select on
                                anything allows it */
    bool sensitive;          /* system catalogue that shows data, secrets or other sessions: only
                                a rule that names it exactly allows it, no wildcard does */
};

/* ---- SSH ---- */

enum ssh_request {
    SSH_REQUEST_EXEC = 1,
    SSH_REQUEST_SHELL = 2,
    SSH_REQUEST_SFTP = 4,
    SSH_REQUEST_PTY = 8,
    SSH_REQUEST_ENV = 16,
    SSH_REQUEST_FORWARD = 32,
};
enum ssh_access { SSH_ACCESS_READ = 1, SSH_ACCESS_WRITE = 2, SSH_ACCESS_DELETE = 4 };

/* Kinds of commands that do harm: the rule set that policies name in ssh.hazards. */
enum ssh_hazard {
    HAZARD_DELETE_TREE = 1 << 0,    /* rm -r, find -delete, shred */
    HAZARD_FORMAT_DISK = 1 << 1,    /* mkfs, wipefs, dd of=/dev/… */
    HAZARD_POWER_OFF = 1 << 2,      /* shutdown, reboot, systemctl poweroff */
    HAZARD_PIPE_TO_SHELL = 1 << 3,  /* curl … | sh */
    HAZARD_PRIVILEGE = 1 << 4,      /* sudo, su, setcap, chmod u+s */
    HAZARD_ACCOUNTS = 1 << 5,       /* useradd, passwd, visudo */
    HAZARD_PERMISSIONS = 1 << 6,    /* chmod -R, chown -R, chmod 777 */
    HAZARD_FIREWALL = 1 << 7,       /* iptables -F, nft flush, setenforce 0 */
    HAZARD_KILL_ALL = 1 << 8,       /* kill -9 -1, killall5 */
    HAZARD_HIDE_TRACKS = 1 << 9,    /* history -c, journalctl --vacuum, auditctl -D */
    HAZARD_FORK_BOMB = 1 << 10,     /* a function that starts itself twice */
    HAZARD_REVERSE_SHELL = 1 << 11, /* nc -e, /dev/tcp, socat exec: */
    HAZARD_UNREADABLE = 1 << 12,    /* expansions and structures that are not understood */
};
#define HAZARD_ALL ((1u << 13) - 1)

struct ssh_command { /* words after quoting was removed */
    const char *const *argv;
    size_t n;
};

/* One thing that an SSH client asks for. */
struct ssh_act {
    unsigned request; /* one of enum ssh_request */
    const char *text; /* for the reason: command, path, name of a variable, destination */
    /* Exec. `plain`: the whole text is exactly this command, without anything for a shell to
     * do; NULL otherwise. `commands`: everything that could be seen in it, nested commands too. */
    const struct ssh_command *plain;
    const struct ssh_command *commands;
    size_t n_commands;
    bool unreadable;
    unsigned hazards; /* bits of enum ssh_hazard */
    /* Sftp. Canonical, absolute; `resolved` with links followed, or NULL when the same. NULL path:
     * the subsystem itself is opened, each operation is asked about later. */
    const char *path, *resolved;
    unsigned access; /* bits of enum ssh_access; 0: metadata, permitted with any access */
};

/* ---- Kubernetes ---- */

/* One request to an API server, in the API server's words; "" where it has none. */
struct kube_act {
    const char *verb;     /* as policies write it: connect for exec, attach, port-forward, proxy */
    const char *api_verb; /* as the API server derives it from method and path */
    const char *group, *version, *resource, *subresource, *namespace_, *name;
    const char *url;                   /* of a non-resource request; then `resource` is "" */
    const struct ssh_command *command; /* of exec; NULL: none */
    const char *risk;    /* what in a pod's template an Allow does not cover, or NULL */
    bool list;           /* names no single object: list, watch, deletecollection */
    bool discovery;      /* tells which APIs there are, and no more */
    bool dry_run;        /* nothing is stored */
    bool unguarded_pods; /* starts pods in a namespace that is not the agent's */
};

struct statement {
    const struct ssh_act *ssh;   /* when set, all that follows but `denied` is empty */
    const struct kube_act *kube; /* the same */
    const struct object *objects;
    size_t n_objects;
    /* Functions, operators and procedures that are not known to be pure built-ins, as
     * "schema.name" or "name"; each must be named by a rule's `functions`. */
    const char *const *functions;
    size_t n_functions;
    /* Set when the statement is refused whatever the rules say, in words for the agent:
     * a masked column in a place that would reveal it, or something that no policy lifts. */
    const char *denied;
    const char *denied_rule; /* the mask rule that refuses, or NULL: built in */
};
