/* SPDX-License-Identifier: Apache-2.0
 * Login with a credential that the guard holds: SCRAM-SHA-256, or a client certificate; MD5 and
 * clear text only to an upstream whose certificate was verified. The Secret is read for each login
 * and wiped after it. When the upstream refuses, it is read once more: if it has been
 * rotated meanwhile, a second login is tried, on a new connection.
 */
#include "handshake.h"

#include "src-common/log.h"
#include "wire.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>

/* ---- answers ---- */

static int send_password(struct pghandshake *h, struct bytes text)
{
    struct buffer out;
    size_t mark;
    int rc;

    buffer_init(&out, 2 * CREDENTIAL_MAX_BYTES);
    buffer_reserve(&out, text.len + 16); /* never moved, so that no copy stays behind */
    mark = pgwire_start(&out, 'p');
    buffer_add(&out, text);
    buffer_add_u8(&out, 0);
    pgwire_finish(&out, mark);
    rc = out.failed ? -ENOMEM
                    : conn_write_all_by(&h->session->upstream, buffer_bytes(&out), h->deadline_ms);
    buffer_wipe(&out);
    return rc ? pghandshake_fail(h, "08006", "login: %s", strerror(-rc)) : 0;
}

/* lower-case hex of MD5(a b) */
static bool md5_hex(struct bytes a, struct bytes b, char out[static 33])
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    uint8_t raw[16];
    bool ok = md && EVP_DigestInit_ex(md, EVP_md5(), NULL) == 1 &&
              EVP_DigestUpdate(md, a.p, a.len) == 1 && EVP_DigestUpdate(md, b.p, b.len) == 1 &&
              EVP_DigestFinal_ex(md, raw, NULL) == 1;

    EVP_MD_CTX_free(md);
    for (size_t i = 0; i < sizeof raw && ok; i++)
        snprintf(out + 2 * i, 3, "%02x", raw[i]);
    OPENSSL_cleanse(raw, sizeof raw);
    return ok;
}

/* Manual 55.3: "md5" MD5(MD5(password user) salt). */
static int answer_md5(struct pghandshake *h, struct bytes salt)
{
    char inner[33], answer[36] = "md5";
    int rc;

    if (salt.len != 4)
        return pghandshake_fail(h, "08P01", "malformed message from the upstream during login");
    if (!md5_hex(secret_bytes(&h->credential.password), bytes_str(h->startup.user), inner) ||
        !md5_hex(bytes_str(inner), salt, answer + 3))
        return pghandshake_fail(h, "58000", "MD5 is not available here");
    rc = send_password(h, bytes_str(answer));
    OPENSSL_cleanse(inner, sizeof inner);
    OPENSSL_cleanse(answer, sizeof answer);
    return rc;
}

/* The password itself, or what is as good as it, may only go to whom the target names. */
static int check_verified(struct pghandshake *h, const char *method)
{
    if (h->upstream_tls && h->session->target->tls == TARGET_TLS_VERIFY_FULL)
        return 0;
    return pghandshake_fail(h, "28000",
                            "the upstream asks for the password by the method %s, which the guard "
                            "only uses over verified TLS (tls.mode: VerifyFull)",
                            method);
}

static int answer_plain(struct pghandshake *h, uint32_t code, struct bytes rest)
{
    h->method = code == PGAUTH_MD5 ? "md5 (by the guard)" : "password (by the guard)";
    if (check_verified(h, code == PGAUTH_MD5 ? "md5" : "password") != 0)
        return -1;
    return code == PGAUTH_MD5 ? answer_md5(h, rest)
                              : send_password(h, secret_bytes(&h->credential.password));
}

/* 0: go on; 1: logged in. */
static int on_authentication(struct pghandshake *h, const struct pgwire_msg *m)
{
    uint32_t code = m->body.len >= 4 ? get_be32(m->body.p) : UINT32_MAX;
    struct bytes rest = {m->body.p + 4, m->body.len >= 4 ? m->body.len - 4 : 0};

    if (code == PGAUTH_OK) {
        if (!h->method || strcmp(h->method, "token") == 0)
            h->method = h->credential.tls_cert.len ? "certificate (by the guard)" : "trust";
        buffer_add(&h->greeting, m->raw);
        return 1;
    }
    if (code != PGAUTH_CLEARTEXT && code != PGAUTH_MD5 && code != PGAUTH_SASL)
        return pghandshake_fail(
            h, "0A000", "the upstream asks for an authentication method (%u) that the guard lacks",
            code);
    if (!h->credential.password.len)
        return pghandshake_fail(h, "28000",
                                "the upstream asks for a password, and the secret of target \"%s\" "
                                "has none",
                                h->session->target->name);
    if (code != PGAUTH_SASL)
        return answer_plain(h, code, rest);
    h->method = "scram-sha-256 (by the guard)";
    return pghandshake_scram(h, rest, secret_bytes(&h->credential.password));
}

/* What the upstream says of a login that is not the agent's is for the operator. */
static int refused(struct pghandshake *h, struct bytes body)
{
    struct bytes code = pgwire_error_field(body, 'C'), text = pgwire_error_field(body, 'M');
    struct pghandshake_refusal *r = &h->refusal;

    snprintf(r->sqlstate, sizeof r->sqlstate, "%.*s", (int)min_size(code.len, 5),
             (const char *)code.p);
    snprintf(r->text, sizeof r->text, "%.*s", (int)min_size(text.len, 250), (const char *)text.p);
    return pghandshake_fail(h, strncmp(r->sqlstate, "28", 2) == 0 ? "28000" : "08004",
                            "the upstream refused the guard's own login to target \"%s\" (%.5s); "
                            "whoever runs the guard finds the reason in its log",
                            h->session->target->name, r->sqlstate);
}

int pghandshake_refused(struct pghandshake *h, const struct pgwire_msg *m)
{
    if (h->injecting)
        return refused(h, m->body);
    if (pgwire_error_field(m->body, 'C').len != 5)
        return pghandshake_fail(h, "08P01", "malformed error from the upstream during login");
    snprintf(h->failure, sizeof h->failure, "upstream refused the login");
    (void)!conn_write_all_by(&h->session->client, m->raw, h->deadline_ms);
    return -1;
}

static int login(struct pghandshake *h)
{
    for (int messages = 0; messages < 16; messages++) {
        struct pgwire_msg m;
        int rc = pghandshake_read(h, &h->session->upstream, true, &m);

        if (rc)
            return pghandshake_fail(h, "08006", "upstream during login: %s", strerror(-rc));
        if (m.type == PGWIRE_B_AUTHENTICATION)
            rc = on_authentication(h, &m);
        else if (m.type == PGWIRE_B_ERROR)
            rc = pghandshake_refused(h, &m);
        else if (m.type != PGWIRE_B_NOTICE && m.type != PGWIRE_B_NEGOTIATE_VERSION)
            rc = pghandshake_fail(h, "08P01", "unexpected message from the upstream during login");
        if (rc)
            return rc < 0 ? rc : 0;
    }
    return pghandshake_fail(h, "08P01", "the upstream's login does not end");
}

/* ---- the secret ---- */

static int load(struct pghandshake *h, struct credential *ret)
{
    struct session *s = h->session;
    struct error err = {""};
    int rc = credential_load(s->guard->secrets_dir, s->target->credentials_secret, ret, &err);

    if (rc == 0)
        return 0;
    snprintf(h->refusal.text, sizeof h->refusal.text, "%.250s", err.text);
    if (rc == -ENOENT && s->guard->agent.pod_uid)
        return pghandshake_fail(h, "28000",
                                "the secret of target \"%s\" is not mounted in this pod, which is "
                                "older than the target: the pod has to be recreated",
                                s->target->name);
    return pghandshake_fail(h, "28000",
                            "the guard cannot use the secret of target \"%s\"; whoever runs the "
                            "guard finds the reason in its log",
                            s->target->name);
}

/* Whom the guard logs in as: never whom the agent says. */
static int choose_user(struct pghandshake *h)
{
    const char *own = h->credential.username, *pinned = h->pins.user;

    if (*own && *pinned && strcmp(own, pinned) != 0)
        return pghandshake_fail(h, "28000",
                                "policy pins another database user than the secret of target "
                                "\"%s\" has",
                                h->session->target->name);
    if (!*own && !*pinned)
        return pghandshake_fail(h, "28000",
                                "the secret of target \"%s\" has no username, and no policy pins a "
                                "user (targets[].credentials.user)",
                                h->session->target->name);
    if (strlen(*own ? own : pinned) >= sizeof h->startup.user)
        return pghandshake_fail(h, "28000", "the username of target \"%s\" is too long",
                                h->session->target->name);
    snprintf(h->startup.user, sizeof h->startup.user, "%.63s", *own ? own : pinned);
    snprintf(h->startup.role, sizeof h->startup.role, "%s", h->pins.role);
    return 0;
}

static int attempt(struct pghandshake *h)
{
    h->method = NULL;
    h->upstream_tls = false;
    if (choose_user(h) != 0 || pghandshake_upstream(h) != 0)
        return -1;
    return login(h);
}

/* True when the Secret is another one now; then it is taken over. */
static bool was_rotated(struct pghandshake *h)
{
    struct credential fresh = {0};
    struct error err;

    if (credential_load(h->session->guard->secrets_dir, h->session->target->credentials_secret,
                        &fresh, &err) != 0)
        return false;
    if (credential_same(&fresh, &h->credential)) {
        credential_done(&fresh);
        return false;
    }
    credential_done(&h->credential);
    h->credential = fresh;
    return true;
}

static void log_refusal(const struct pghandshake *h)
{
    log_warn("login.refused", F_STR("session", h->session->id),
             F_STR("target", h->session->target->name), F_STR("user", h->startup.user),
             F_STR("sqlstate", h->refusal.sqlstate),
             F_STR("reason", h->refusal.text[0] ? h->refusal.text : h->failure));
}

int pghandshake_inject(struct pghandshake *h)
{
    int rc;

    h->injecting = true;
    rc = load(h, &h->credential);
    if (rc == 0) {
        h->quiet = true; /* the first refusal is not the client's yet */
        rc = attempt(h);
        h->quiet = false;
        if (rc != 0 && was_rotated(h)) {
            h->refusal = (struct pghandshake_refusal){""};
            conn_close(&h->session->upstream);
            rc = attempt(h);
        } else if (rc != 0) {
            pghandshake_tell(h);
        }
    }
    credential_done(&h->credential);
    h->injecting = false;
    if (rc)
        log_refusal(h);
    else
        atomic_fetch_add(&h->session->guard->counters.injected_logins, 1);
    return rc;
}
