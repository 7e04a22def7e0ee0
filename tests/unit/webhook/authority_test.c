/* SPDX-License-Identifier: Apache-2.0
 * The shared authority: every step of its replacement, seen by replicas that look at different
 * times; and certificates that a client really verifies.
 */
#include "webhook_support.h"

#include "webhook/authority.h"

#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#define T0 1795557600

static const struct config_times times = {
    .ca_lifetime = 10000, .renew_before = 3000, .overlap = 100, .leaf_lifetime = 1000};

static struct authority made_at(int64_t now)
{
    struct authority a = {0};
    struct error err;

    assert_int_equal(authority_change(&times, AUTHORITY_RENEW, now, &a, &err), 0);
    return a;
}

static X509 *certificate(const char *pem)
{
    BIO *b = BIO_new_mem_buf(pem, -1);
    X509 *x = PEM_read_bio_X509(b, NULL, NULL, NULL);

    BIO_free(b);
    assert_non_null(x);
    return x;
}

/* As the API server does: chain, time, purpose, name. */
static int verify(const struct pki_pair *ca, const struct pki_pair *leaf, const char *name,
                  int64_t now)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    X509 *root = certificate(ca->certificate), *x = certificate(leaf->certificate);
    int rc;

    X509_STORE_add_cert(store, root);
    X509_STORE_CTX_init(ctx, store, x, NULL);
    X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_SERVER);
    X509_VERIFY_PARAM_set1_host(X509_STORE_CTX_get0_param(ctx), name, 0);
    X509_STORE_CTX_set_time(ctx, 0, now);
    rc = X509_verify_cert(ctx) == 1 ? 0 : X509_STORE_CTX_get_error(ctx);
    X509_free(root);
    X509_free(x);
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return rc;
}

static void leaves_are_verified_by_their_authority_alone(void **state)
{
    static const char *const names[] = {"hook.sys", "hook.sys.svc", NULL};
    const struct pki_request r = {.now = T0, .lifetime_s = 1000, .names = names};
    struct authority a = made_at(T0), b = made_at(T0);
    struct pki_pair leaf = {0};
    struct error err;

    (void)state;
    assert_int_equal(pki_make_leaf(&r, &a.current, &leaf, &err), 0);
    assert_int_equal(verify(&a.current, &leaf, "hook.sys.svc", T0), 0);
    assert_int_equal(verify(&a.current, &leaf, "hook.sys", T0 + 999), 0);
    assert_int_equal(verify(&a.current, &leaf, "hook.sys.svc", T0 + 1001),
                     X509_V_ERR_CERT_HAS_EXPIRED);
    assert_int_equal(verify(&a.current, &leaf, "hook.sys.svc", T0 - PKI_BACKDATE_S + 1), 0);
    assert_int_equal(verify(&a.current, &leaf, "other.sys.svc", T0), X509_V_ERR_HOSTNAME_MISMATCH);
    assert_int_not_equal(verify(&b.current, &leaf, "hook.sys.svc", T0), 0);
    pki_pair_done(&leaf);
    authority_done(&a);
    authority_done(&b);
}

static void it_is_replaced_with_overlap(void **state)
{
    struct authority a = made_at(T0);
    struct error err;

    (void)state;
    assert_int_equal(authority_due(&times, &a, T0), AUTHORITY_KEEP);
    assert_int_equal(authority_due(&times, &a, T0 + 6999), AUTHORITY_KEEP);
    assert_int_equal(authority_due(&times, &a, T0 + 7000), AUTHORITY_ADD_NEXT);
    assert_int_equal(authority_due(&times, &a, T0 + 10000), AUTHORITY_RENEW);
    assert_int_equal(authority_change(&times, AUTHORITY_ADD_NEXT, T0 + 7000, &a, &err), 0);
    /* trusted, but not used before every API server has heard of it */
    assert_ptr_equal(authority_signer(&times, &a, T0 + 7000), &a.current);
    assert_ptr_equal(authority_signer(&times, &a, T0 + 7099), &a.current);
    assert_ptr_equal(authority_signer(&times, &a, T0 + 7100), &a.next);
    /* dropped only when no leaf of it can be left: one made at 7099 by a slow replica ends 8099 */
    assert_int_equal(authority_due(&times, &a, T0 + 8100), AUTHORITY_KEEP);
    assert_int_equal(authority_due(&times, &a, T0 + 8199), AUTHORITY_KEEP);
    assert_int_equal(authority_due(&times, &a, T0 + 8200), AUTHORITY_PROMOTE);
    {
        char *next = strdup(a.next.certificate);

        assert_int_equal(authority_change(&times, AUTHORITY_PROMOTE, T0 + 8200, &a, &err), 0);
        assert_string_equal(a.current.certificate, next);
        assert_null(a.next.certificate);
        free(next);
    }
    assert_int_equal(authority_due(&times, &a, T0 + 8200), AUTHORITY_KEEP);
    authority_done(&a);
}

static void the_secret_holds_all_of_it(void **state)
{
    struct authority a = made_at(T0), b = {0};
    struct json_object *s, *again;
    struct error err;
    char *bundle, *both;

    (void)state;
    assert_int_equal(authority_change(&times, AUTHORITY_ADD_NEXT, T0 + 1, &a, &err), 0);
    s = authority_secret(NULL, &a);
    json_object_object_add(value_get(s, "metadata"), "resourceVersion",
                           json_object_new_string("7"));
    again = authority_secret(s, &a);
    assert_string_equal(value_text(again, "metadata.resourceVersion"), "7");
    assert_int_equal(authority_read(again, &b, &err), 0);
    assert_string_equal(a.current.key, b.current.key);
    assert_string_equal(a.next.certificate, b.next.certificate);
    bundle = authority_bundle(&a);
    both = authority_bundle(&b);
    assert_string_equal(bundle, both);
    free(bundle);
    free(both);
    json_object_put(s);
    json_object_put(again);
    authority_done(&a);
    authority_done(&b);
}

static void what_is_no_authority_is_refused(void **state)
{
    struct authority a = made_at(T0), b = made_at(T0), read = {0};
    struct json_object *s = authority_secret(NULL, &a), *o = authority_secret(NULL, &b);
    struct error err;

    (void)state;
    json_object_object_add(value_get(s, "data"), "ca.key",
                           json_object_get(value_get(value_get(o, "data"), "ca.key")));
    assert_int_equal(authority_read(s, &read, &err), -EINVAL);
    assert_string_equal(err.text, "ca.crt, ca.key: the key is not the certificate's");
    json_object_object_add(value_get(s, "data"), "ca.key", json_object_new_string("!!!!"));
    assert_int_equal(authority_read(s, &read, &err), -EINVAL);
    assert_string_equal(err.text, "ca.crt, ca.key: no private key");
    json_object_object_del(value_get(s, "data"), "ca.crt");
    assert_int_equal(authority_read(s, &read, &err), -EINVAL);
    assert_string_equal(err.text, "ca.crt, ca.key: no certificate");
    assert_int_equal(authority_read(NULL, &read, &err), -EINVAL);
    json_object_put(s);
    json_object_put(o);
    authority_done(&a);
    authority_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leaves_are_verified_by_their_authority_alone),
        cmocka_unit_test(it_is_replaced_with_overlap),
        cmocka_unit_test(the_secret_holds_all_of_it),
        cmocka_unit_test(what_is_no_authority_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
