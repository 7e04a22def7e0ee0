/* SPDX-License-Identifier: Apache-2.0
 * Command line of the guard.
 */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

static const char help_text[] =
    "Usage: chaperone-sidecar --policies DIR | --kubernetes [OPTION]...\n"
    "\n"
    "The guard: takes an agent's connections, applies GuardPolicies, records, and relays.\n"
    "\n"
    "Policy and identity\n"
    "  --policies DIR             GuardPolicy and GuardTarget YAML files; reloaded on change\n"
    "  --kubernetes               policies, approvals and events are objects of the API server\n"
    "  --secrets DIR              DIR/<secretName>/<key>, as Kubernetes mounts Secrets\n"
    "  --namespace NS             the agent's namespace (default \"default\")\n"
    "  --pod NAME                 the agent's pod name (default \"local\")\n"
    "  --pod-uid UID              the pod's UID; tokens of other pods are refused\n"
    "  --issuers FILE             whose tokens are trusted (docs/identity.md); read again when\n"
    "                             it changes\n"
    "  --issuers-inline TEXT      the file's content instead, for the guard of a pod\n"
    "  --service-account SA       the agent's service account (default \"default\")\n"
    "  --labels K=V,K=V           the agent's labels\n"
    "  --labels-file FILE         the same from the downward API; read again when it changes\n"
    "  --agent-token FILE         the agent's token, copied to --trust DIR/serviceaccount\n"
    "  --kube-account DIR         the guard's own service account (default\n"
    "                             /var/run/secrets/kubernetes.io/serviceaccount)\n"
    "\n"
    "Traffic (at least one)\n"
    "  --listen ADDR:PORT=TARGET  accept for one GuardTarget; may be repeated\n"
    "  --capture PORT             accept what chaperone-init redirects\n"
    "\n"
    "Records and people\n"
    "  --spool DIR                where records are written (required)\n"
    "  --spool-limit SIZE         e.g. 512Mi: what the spool may hold; then statements are "
    "refused\n"
    "                             (default with --upload: 90 % of what the disk has free)\n"
    "  --seal                     signs records in segments without a store, too: they stay in "
    "the spool\n"
    "  --anchor-seconds N         --kubernetes: between two Events with the ledger's head (default "
    "60)\n"
    "  --upload s3://BUCKET/PREFIX\n"
    "                             seals records and uploads them all the time (docs/records.md)\n"
    "  --s3-credentials DIR       accessKeyId, secretAccessKey, and if needed sessionToken, "
    "ca.crt\n"
    "  --s3-endpoint URL          http[s]://HOST[:PORT] (default: Amazon's for the region)\n"
    "  --s3-region R              (default us-east-1)\n"
    "  --s3-lock MODE:TIME        Object Lock, e.g. Compliance:30d; Governance; h, d, y\n"
    "  --s3-style path|virtual    where the bucket's name goes (default path)\n"
    "  --s3-sse AES256|aws:kms[:KEY]\n"
    "                             the store is to encrypt what it keeps\n"
    "  --s3-role ARN --s3-token FILE [--s3-sts URL]\n"
    "                             keys come from a token service instead, for the file's token\n"
    "  --encrypt-to FILE          certificates (PEM) of who alone may read what is uploaded\n"
    "  --encrypt-to-inline PEM    the file's content instead\n"
    "  --upload-rate SIZE         at most so many bytes a second, from 16Ki on\n"
    "  --segment-bytes SIZE       a segment ends at this size (default 4Mi)\n"
    "  --segment-seconds N        or at this age (default 10)\n"
    "  --control PATH             unix socket for kubectl-guard\n"
    "  --status ADDR:PORT         /livez /readyz /metrics /policies\n"
    "  --trust DIR                writes the CA that the agent has to trust\n"
    "  --state DIR                the guard's own: keeps the CA's key across restarts\n"
    "\n"
    "Limits\n"
    "  --workers N                worker loops (default 1; each more raises throughput where CPUs "
    "are idle, and costs CPU)\n"
    "  --max-sessions N           more are refused politely (default 1000)\n"
    "  --handshake-timeout S      from accept to logged in (default 30)\n"
    "  --stale-after S            how long the last good policy outlives an invalid one, or\n"
    "                             the API server's absence (default 600)\n"
    "  --log-level LEVEL          debug, info, warn, error (default info)\n"
    "  --help, --version\n"
    "\n"
    "Exit status: 0 ended by a signal, 1 could not start, 2 wrong usage.\n";

enum {
    OPT_POLICIES = 1,
    OPT_SECRETS,
    OPT_ISSUERS,
    OPT_ISSUERS_INLINE,
    OPT_NAMESPACE,
    OPT_POD,
    OPT_POD_UID,
    OPT_SERVICE_ACCOUNT,
    OPT_LABELS,
    OPT_LISTEN,
    OPT_CAPTURE,
    OPT_SPOOL,
    OPT_CONTROL,
    OPT_STATUS,
    OPT_TRUST,
    OPT_STATE,
    OPT_KUBERNETES,
    OPT_LABELS_FILE,
    OPT_AGENT_TOKEN,
    OPT_KUBE_ACCOUNT,
    OPT_WORKERS,
    OPT_MAX_SESSIONS,
    OPT_HANDSHAKE_TIMEOUT,
    OPT_STALE_AFTER,
    OPT_LOG_LEVEL,
    OPT_HELP,
    OPT_VERSION,
    OPT_UPLOAD,
    OPT_S3_ENDPOINT,
    OPT_S3_REGION,
    OPT_S3_LOCK,
    OPT_S3_CREDENTIALS,
    OPT_S3_STYLE,
    OPT_S3_SSE,
    OPT_S3_ROLE,
    OPT_S3_TOKEN,
    OPT_S3_STS,
    OPT_ENCRYPT_TO,
    OPT_ENCRYPT_TO_INLINE,
    OPT_UPLOAD_RATE,
    OPT_SEAL,
    OPT_ANCHOR_SECONDS,
    OPT_SPOOL_LIMIT,
    OPT_SEGMENT_BYTES,
    OPT_SEGMENT_SECONDS,
};

static const struct option long_options[] = {
    {"policies", required_argument, NULL, OPT_POLICIES},
    {"secrets", required_argument, NULL, OPT_SECRETS},
    {"namespace", required_argument, NULL, OPT_NAMESPACE},
    {"pod", required_argument, NULL, OPT_POD},
    {"pod-uid", required_argument, NULL, OPT_POD_UID},
    {"issuers", required_argument, NULL, OPT_ISSUERS},
    {"issuers-inline", required_argument, NULL, OPT_ISSUERS_INLINE},
    {"service-account", required_argument, NULL, OPT_SERVICE_ACCOUNT},
    {"labels", required_argument, NULL, OPT_LABELS},
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"capture", required_argument, NULL, OPT_CAPTURE},
    {"spool", required_argument, NULL, OPT_SPOOL},
    {"control", required_argument, NULL, OPT_CONTROL},
    {"status", required_argument, NULL, OPT_STATUS},
    {"trust", required_argument, NULL, OPT_TRUST},
    {"state", required_argument, NULL, OPT_STATE},
    {"kubernetes", no_argument, NULL, OPT_KUBERNETES},
    {"labels-file", required_argument, NULL, OPT_LABELS_FILE},
    {"agent-token", required_argument, NULL, OPT_AGENT_TOKEN},
    {"kube-account", required_argument, NULL, OPT_KUBE_ACCOUNT},
    {"workers", required_argument, NULL, OPT_WORKERS},
    {"max-sessions", required_argument, NULL, OPT_MAX_SESSIONS},
    {"handshake-timeout", required_argument, NULL, OPT_HANDSHAKE_TIMEOUT},
    {"stale-after", required_argument, NULL, OPT_STALE_AFTER},
    {"log-level", required_argument, NULL, OPT_LOG_LEVEL},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {"upload", required_argument, NULL, OPT_UPLOAD},
    {"s3-endpoint", required_argument, NULL, OPT_S3_ENDPOINT},
    {"s3-region", required_argument, NULL, OPT_S3_REGION},
    {"s3-lock", required_argument, NULL, OPT_S3_LOCK},
    {"s3-credentials", required_argument, NULL, OPT_S3_CREDENTIALS},
    {"s3-style", required_argument, NULL, OPT_S3_STYLE},
    {"s3-sse", required_argument, NULL, OPT_S3_SSE},
    {"s3-role", required_argument, NULL, OPT_S3_ROLE},
    {"s3-token", required_argument, NULL, OPT_S3_TOKEN},
    {"s3-sts", required_argument, NULL, OPT_S3_STS},
    {"encrypt-to", required_argument, NULL, OPT_ENCRYPT_TO},
    {"encrypt-to-inline", required_argument, NULL, OPT_ENCRYPT_TO_INLINE},
    {"upload-rate", required_argument, NULL, OPT_UPLOAD_RATE},
    {"seal", no_argument, NULL, OPT_SEAL},
    {"anchor-seconds", required_argument, NULL, OPT_ANCHOR_SECONDS},
    {"spool-limit", required_argument, NULL, OPT_SPOOL_LIMIT},
    {"segment-bytes", required_argument, NULL, OPT_SEGMENT_BYTES},
    {"segment-seconds", required_argument, NULL, OPT_SEGMENT_SECONDS},
    {0},
};

static int parse_number(const char *option, const char *text, unsigned min, unsigned max,
                        unsigned *ret, struct error *err)
{
    char *end;
    unsigned long v = strtoul(text, &end, 10);

    if (!*text || *end || *text == '-' || v < min || v > max)
        return error_set(err, -EINVAL, "--%s: '%s' is not a number from %u to %u", option, text,
                         min, max);
    *ret = (unsigned)v;
    return 0;
}

/* As quantities of Kubernetes: bytes, or with Ki, Mi, Gi. */
static int parse_size(const char *option, const char *text, uint64_t min, uint64_t *ret,
                      struct error *err)
{
    static const char *const units[] = {"", "Ki", "Mi", "Gi"};
    char *end;
    unsigned long long v = strtoull(text, &end, 10);

    for (unsigned i = 0; *text >= '0' && *text <= '9' && i < ARRAY_LEN(units); i++) {
        if (strcmp(end, units[i]) != 0 || v > (UINT64_MAX >> 1) >> (10 * i))
            continue;
        if (v << (10 * i) < min)
            break;
        *ret = (uint64_t)v << (10 * i);
        return 0;
    }
    return error_set(err, -EINVAL, "--%s: '%s' is not a size from %llu bytes on, such as 64Mi",
                     option, text, (unsigned long long)min);
}

static int add_listen(struct options *o, char *text, struct error *err)
{
    char *equals = strrchr(text, '=');
    int rc;

    if (!equals || !equals[1])
        return error_set(err, -EINVAL, "--listen: '%s' is not ADDR:PORT=TARGET", text);
    if (o->n_listen == OPTIONS_MAX_LISTEN)
        return error_set(err, -EINVAL, "--listen: more than %d listeners", OPTIONS_MAX_LISTEN);
    *equals = '\0';
    rc = address_parse(text, &o->listen[o->n_listen].addr, err);
    if (rc)
        return error_prefix(err, rc, "--listen");
    o->listen[o->n_listen++].target = equals + 1;
    return 0;
}

static int parse_labels(struct options *o, char *text, struct error *err)
{
    char *save = NULL;
    size_t n = 0;

    for (char *pair = strtok_r(text, ",", &save); pair; pair = strtok_r(NULL, ",", &save)) {
        char *equals = strchr(pair, '=');

        if (!equals || equals == pair)
            return error_set(err, -EINVAL, "--labels: '%s' is not KEY=VALUE", pair);
        if (n == 2 * OPTIONS_MAX_LABELS)
            return error_set(err, -EINVAL, "--labels: more than %d labels", OPTIONS_MAX_LABELS);
        *equals = '\0';
        o->labels[n++] = pair;
        o->labels[n++] = equals + 1;
    }
    return 0;
}

/* Options whose value is kept as it is. */
static const struct {
    int opt;
    size_t at;
} texts[] = {
    {OPT_POLICIES, offsetof(struct options, policies)},
    {OPT_SECRETS, offsetof(struct options, secrets)},
    {OPT_NAMESPACE, offsetof(struct options, agent.namespace_)},
    {OPT_POD, offsetof(struct options, agent.pod)},
    {OPT_POD_UID, offsetof(struct options, agent.pod_uid)},
    {OPT_ISSUERS, offsetof(struct options, issuers)},
    {OPT_ISSUERS_INLINE, offsetof(struct options, issuers_inline)},
    {OPT_SERVICE_ACCOUNT, offsetof(struct options, agent.service_account)},
    {OPT_SPOOL, offsetof(struct options, spool)},
    {OPT_CONTROL, offsetof(struct options, control)},
    {OPT_STATUS, offsetof(struct options, status)},
    {OPT_TRUST, offsetof(struct options, trust)},
    {OPT_LOG_LEVEL, offsetof(struct options, log_level)},
    {OPT_STATE, offsetof(struct options, state)},
    {OPT_LABELS_FILE, offsetof(struct options, labels_file)},
    {OPT_AGENT_TOKEN, offsetof(struct options, agent_token)},
    {OPT_KUBE_ACCOUNT, offsetof(struct options, kube_account)},
    {OPT_UPLOAD, offsetof(struct options, s3.url)},
    {OPT_S3_ENDPOINT, offsetof(struct options, s3.endpoint)},
    {OPT_S3_REGION, offsetof(struct options, s3.region)},
    {OPT_S3_LOCK, offsetof(struct options, s3.lock)},
    {OPT_S3_CREDENTIALS, offsetof(struct options, s3.credentials)},
    {OPT_S3_STYLE, offsetof(struct options, s3.style)},
    {OPT_S3_SSE, offsetof(struct options, s3.sse)},
    {OPT_S3_ROLE, offsetof(struct options, s3.role)},
    {OPT_S3_TOKEN, offsetof(struct options, s3.token)},
    {OPT_S3_STS, offsetof(struct options, s3.sts)},
    {OPT_ENCRYPT_TO, offsetof(struct options, encrypt_to)},
    {OPT_ENCRYPT_TO_INLINE, offsetof(struct options, encrypt_to_inline)},
};

static int take_option(struct options *o, int opt, const char *name, char *value, struct error *err)
{
    unsigned port;
    int rc;

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        if (texts[i].opt == opt) {
            *(const char **)((char *)o + texts[i].at) = value;
            return 0;
        }
    }
    switch (opt) {
    case OPT_KUBERNETES:
        o->kubernetes = true;
        return 0;
    case OPT_SEAL:
        o->seal = true;
        return 0;
    case OPT_ANCHOR_SECONDS:
        return parse_number(name, value, 1, 3600, &o->anchor_seconds, err);
    case OPT_LABELS:
        return parse_labels(o, value, err);
    case OPT_LISTEN:
        return add_listen(o, value, err);
    case OPT_CAPTURE:
        rc = parse_number(name, value, 1, 65535, &port, err);
        o->capture_port = (uint16_t)port;
        return rc;
    case OPT_WORKERS:
        return parse_number(name, value, 1, 16, &o->workers, err);
    case OPT_MAX_SESSIONS:
        return parse_number(name, value, 1, 100000, &o->max_sessions, err);
    case OPT_HANDSHAKE_TIMEOUT:
        return parse_number(name, value, 1, 600, &o->handshake_timeout_s, err);
    case OPT_STALE_AFTER:
        return parse_number(name, value, 1, 86400, &o->stale_after_s, err);
    case OPT_SPOOL_LIMIT:
        return parse_size(name, value, 64 << 10, &o->spool_limit, err);
    case OPT_UPLOAD_RATE:
        return parse_size(name, value, 16 << 10, &o->s3.rate, err);
    case OPT_SEGMENT_BYTES:
        return parse_size(name, value, 4 << 10, &o->segment_bytes, err);
    case OPT_SEGMENT_SECONDS:
        return parse_number(name, value, 1, 3600, &o->segment_seconds, err);
    default:
        return error_set(err, -EINVAL, "try --help");
    }
}

/* Options that only mean something together. */
static int check_kubernetes(const struct options *o, struct error *err)
{
    if (o->policies)
        return error_set(err, -EINVAL, "--kubernetes and --policies exclude each other");
    if (!o->agent.pod_uid)
        return error_set(err, -EINVAL,
                         "--kubernetes needs --pod-uid: Events and approvals name it");
    if (o->labels_file && o->labels[0])
        return error_set(err, -EINVAL, "--labels and --labels-file exclude each other");
    if (o->agent_token && !o->trust)
        return error_set(err, -EINVAL, "--agent-token needs --trust DIR, where it is copied to");
    return 0;
}

static int check_standalone(const struct options *o, struct error *err)
{
    if (!o->policies)
        return error_set(err, -EINVAL, "--policies DIR or --kubernetes is missing; try --help");
    if (o->labels_file || o->agent_token || o->kube_account)
        return error_set(err, -EINVAL,
                         "--labels-file, --agent-token and --kube-account need --kubernetes");
    return 0;
}

static int check_upload(const struct options *o, struct error *err)
{
    const char *const texts_of_upload[] = {
        o->s3.endpoint, o->s3.region, o->s3.lock, o->s3.credentials, o->s3.style,         o->s3.sse,
        o->s3.role,     o->s3.token,  o->s3.sts,  o->encrypt_to,     o->encrypt_to_inline};

    if (o->encrypt_to && o->encrypt_to_inline)
        return error_set(err, -EINVAL, "--encrypt-to and --encrypt-to-inline exclude each other");
    for (size_t i = 0; !o->s3.url && i < ARRAY_LEN(texts_of_upload); i++)
        if (texts_of_upload[i])
            return error_set(
                err, -EINVAL,
                "the options --s3-… and --encrypt-to need --upload s3://BUCKET/PREFIX");
    if (!o->s3.url && o->s3.rate)
        return error_set(err, -EINVAL, "--upload-rate needs --upload s3://BUCKET/PREFIX");
    return 0;
}

static int check(const struct options *o, struct error *err)
{
    int rc = o->kubernetes ? check_kubernetes(o, err) : check_standalone(o, err);

    if (rc)
        return rc;
    if (o->issuers && o->issuers_inline)
        return error_set(err, -EINVAL, "--issuers and --issuers-inline exclude each other");
    if (!o->spool)
        return error_set(err, -EINVAL, "--spool DIR is missing: nothing is forwarded unrecorded");
    if (o->segment_bytes > 64 << 20)
        return error_set(err, -EINVAL, "--segment-bytes: at most 64Mi");
    rc = check_upload(o, err);
    if (rc)
        return rc;
    if (!o->n_listen && !o->capture_port)
        return error_set(err, -EINVAL,
                         "--listen or --capture is missing: there is nothing to guard");
    return 0;
}

int options_parse(int argc, char **argv, struct options *ret, struct error *err)
{
    int opt, index = 0, rc;

    *ret = (struct options){.workers = 1,
                            .max_sessions = 1000,
                            .handshake_timeout_s = 30,
                            .stale_after_s = 600,
                            .segment_bytes = 4 << 20,
                            .segment_seconds = 10,
                            .anchor_seconds = 60,
                            .log_level = "info"};
    ret->agent =
        (struct agent){.namespace_ = "default", .pod = "local", .service_account = "default"};
    opterr = 0;
    while ((opt = getopt_long(argc, argv, ":", long_options, &index)) != -1) {
        if (opt == OPT_HELP || opt == OPT_VERSION) {
            fputs(opt == OPT_HELP ? help_text : "chaperone-sidecar " CHAPERONE_VERSION "\n",
                  stdout);
            return 1;
        }
        if (opt == '?')
            return error_set(err, -EINVAL, "unknown option '%s'; try --help", argv[optind - 1]);
        if (opt == ':')
            return error_set(err, -EINVAL, "%s needs a value; try --help", argv[optind - 1]);
        rc = take_option(ret, opt, long_options[index].name, optarg, err);
        if (rc)
            return rc;
    }
    if (optind < argc)
        return error_set(err, -EINVAL, "'%s' is not an option; try --help", argv[optind]);
    ret->agent.labels = ret->labels;
    return check(ret, err);
}
