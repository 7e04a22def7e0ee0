/* SPDX-License-Identifier: Apache-2.0
 * GuardTarget's spec.
 */
#include "model.h"

#include <openssl/evp.h>
#include <stdio.h>

struct secret_ref {
    const char *name, *key;
};

struct tls_spec {
    unsigned mode;
    struct secret_ref ca;
    const char *server_name;
};

struct target_spec {
    unsigned protocol;
    struct array hosts, ports, host_keys;
    struct tls_spec tls;
    struct credentials_spec {
        const char *secret;
        unsigned token; /* enum target_token */
    } credentials;
};

#define OTHER_NAMESPACE "a target's secrets are of its own namespace; leave this out"

/* ---- tls, credentials ---- */

static int tls_mode_parse(const struct place *at, void *out)
{
    static const struct word words[] = {{"VerifyFull", TARGET_TLS_VERIFY_FULL},
                                        {"Require", TARGET_TLS_REQUIRE},
                                        {"Disable", TARGET_TLS_DISABLE}};

    return place_word(at, "mode", words, ARRAY_LEN(words), out);
}

static int secret_key_parse(const struct place *at, void *out)
{
    int rc = place_text(at, out);

    if (rc)
        return rc;
    if (at->node->text[0] == '.' || strchr(at->node->text, '/'))
        return place_error(at, "'%.64s' is not a secret's key", at->node->text);
    return 0;
}

static int ca_ref_parse(const struct place *at, void *out)
{
    static const struct field fields[] = {
        {.name = "name", place_parse_name, offsetof(struct secret_ref, name), .required = true},
        {.name = "key", secret_key_parse, offsetof(struct secret_ref, key)},
        {.name = "namespace", .refused = OTHER_NAMESPACE},
    };
    struct secret_ref *ret = out;

    ret->key = "ca.crt";
    return place_fields(at, fields, ARRAY_LEN(fields), ret);
}

static int server_name_parse(const struct place *at, void *out)
{
    struct target_host h = {0};
    int rc = host_parse(at, &h);

    if (rc)
        return rc;
    if (h.prefix_len >= 0 && strchr(h.name, '/'))
        return place_error(at, "expected one name or address");
    *(const char **)out = h.name;
    return 0;
}

static int tls_parse(const struct place *at, void *out)
{
    static const struct field fields[] = {
        {.name = "mode", tls_mode_parse, offsetof(struct tls_spec, mode)},
        {.name = "caSecretRef", ca_ref_parse, offsetof(struct tls_spec, ca)},
        {.name = "serverName", server_name_parse, offsetof(struct tls_spec, server_name)},
    };
    struct tls_spec *tls = out;
    struct place found;
    int rc = place_fields(at, fields, ARRAY_LEN(fields), tls);

    if (rc || tls->mode == TARGET_TLS_VERIFY_FULL)
        return rc;
    if (place_find(at, "caSecretRef", &found))
        return place_error(&found, "only mode VerifyFull checks the server's certificate");
    if (tls->mode == TARGET_TLS_DISABLE && place_find(at, "serverName", &found))
        return place_error(&found, "there is no certificate with mode Disable");
    return 0;
}

static int credentials_ref_parse(const struct place *at, void *out)
{
    static const struct field fields[] = {
        {.name = "name", place_parse_name, 0, .required = true},
        {.name = "namespace", .refused = OTHER_NAMESPACE},
    };

    return place_fields(at, fields, ARRAY_LEN(fields), out);
}

static int require_token_parse(const struct place *at, void *out)
{
    bool required = true;
    int rc = place_parse_bool(at, &required);

    *(unsigned *)out = required ? TARGET_TOKEN_ALWAYS : TARGET_TOKEN_NEVER;
    return rc;
}

static int credentials_parse(const struct place *at, void *out)
{
    static const struct field fields[] = {
        {.name = "secretRef",
         credentials_ref_parse,
         offsetof(struct credentials_spec, secret),
         .required = true},
        {.name = "requireToken", require_token_parse, offsetof(struct credentials_spec, token)},
    };

    return place_fields(at, fields, ARRAY_LEN(fields), out);
}

/* ---- ssh ---- */

/* The key's own bytes begin with the length and name of its type. */
static bool key_says_type(const char *base64, const char *type)
{
    size_t n = strlen(base64), n_type = strlen(type);
    uint8_t data[4096];

    if (n < 32 || n % 4 || n / 4 * 3 > sizeof data ||
        EVP_DecodeBlock(data, (const uint8_t *)base64, (int)n) < 0)
        return false;
    return get_be32(data) == n_type && memcmp(data + 4, type, n_type) == 0;
}

static int host_key_parse(const struct place *at, void *out)
{
    static const char *const types[] = {"ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256",
                                        "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"};
    const char **ret = out;
    char type[32] = "", key[4097] = "";
    int rc = place_text(at, ret);

    if (rc)
        return rc;
    if (sscanf(at->node->text, "%31s %4096s", type, key) != 2)
        return place_error(at, "expected \"TYPE BASE64\", as in a known_hosts file");
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (strcmp(type, types[i]) != 0)
            continue;
        if (!key_says_type(key, type))
            return place_error(at, "the key is damaged, or not of the type %s", type);
        return 0;
    }
    return place_error(at, "unknown type of host key '%s'", type);
}

static int host_keys_parse(const struct place *at, void *out)
{
    static const struct array_of keys = {sizeof(const char *), host_key_parse, false};

    return place_array(at, &keys, out);
}

static int ssh_section_parse(const struct place *at, void *out)
{
    static const struct field fields[] = {
        {.name = "hostKeys", host_keys_parse, 0, .required = true},
    };

    return place_fields(at, fields, ARRAY_LEN(fields), out);
}

/* ---- spec ---- */

static int protocol_parse(const struct place *at, void *out)
{
    static const struct word words[] = {{"postgres", TARGET_POSTGRES},
                                        {"ssh", TARGET_SSH},
                                        {"kubernetes", TARGET_KUBERNETES},
                                        {"tcp", TARGET_TCP}};

    return place_word(at, "protocol", words, ARRAY_LEN(words), out);
}

static int hosts_parse(const struct place *at, void *out)
{
    static const struct array_of hosts = {sizeof(struct target_host), host_parse, false};

    return place_array(at, &hosts, out);
}

/* Sections that mean nothing for the protocol would be believed to work. */
static int check_sections(const struct place *at, const struct target_spec *t)
{
    bool ssh = t->protocol == TARGET_SSH, tcp = t->protocol == TARGET_TCP;
    struct place found;

    if (ssh && !place_find(at, "ssh", &found))
        return place_missing(at, "ssh.hostKeys",
                             "required for protocol ssh: there is no trust on "
                             "first use");
    if (!ssh && place_find(at, "ssh", &found))
        return place_error(&found, "only for protocol ssh");
    if ((ssh || tcp) && place_find(at, "tls", &found))
        return place_error(&found, "not for protocol %s", ssh ? "ssh" : "tcp");
    if (tcp && place_find(at, "credentials", &found))
        return place_error(&found, "not for protocol tcp: the guard only relays");
    return 0;
}

/* A login that is sent to whatever address the agent dials would be the agent's to steal. */
static int check_hosts(const struct place *at, const struct target_spec *t)
{
    const struct target_host *hosts = t->hosts.items;
    struct place found;

    for (size_t i = 0; i < t->hosts.n && t->credentials.secret; i++) {
        if (hosts[i].prefix_len == 0 && place_find(at, "hosts", &found))
            return place_error(&found,
                               "'%s' is every address; a target with credentials has to "
                               "say where they may go",
                               hosts[i].name);
    }
    return 0;
}

int target_parse_spec(const struct place *at, struct target *ret)
{
    static const struct field fields[] = {
        {.name = "protocol",
         protocol_parse,
         offsetof(struct target_spec, protocol),
         .required = true},
        {.name = "hosts", hosts_parse, offsetof(struct target_spec, hosts), .required = true},
        {.name = "ports", ports_parse, offsetof(struct target_spec, ports), .required = true},
        {.name = "tls", tls_parse, offsetof(struct target_spec, tls)},
        {.name = "credentials", credentials_parse, offsetof(struct target_spec, credentials)},
        {.name = "ssh", ssh_section_parse, offsetof(struct target_spec, host_keys)},
    };
    struct target_spec t = {0};
    int rc = place_fields(at, fields, ARRAY_LEN(fields), &t);

    if (rc || (rc = check_sections(at, &t)) || (rc = check_hosts(at, &t)))
        return rc;
    ret->protocol = t.protocol;
    ret->hosts = t.hosts.items;
    ret->n_hosts = t.hosts.n;
    ret->ports = t.ports.items;
    ret->n_ports = t.ports.n;
    ret->tls = t.tls.mode;
    ret->tls_server_name = t.tls.server_name;
    ret->tls_ca_secret = t.tls.ca.name;
    ret->tls_ca_key = t.tls.ca.key;
    ret->credentials_secret = t.credentials.secret;
    ret->token = t.credentials.token;
    ret->ssh_host_keys = t.host_keys.items;
    return 0;
}
