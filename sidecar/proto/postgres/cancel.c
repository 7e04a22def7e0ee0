/* SPDX-License-Identifier: Apache-2.0
 * Cancel keys.
 */
#include "cancel.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/random.h>

struct entry {
    struct entry *next;
    struct session *session;
    uint32_t pid;
    uint8_t key[32];
    size_t key_len;
    struct pgcancel_upstream up;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry *buckets[256]; /* by pid, under lock */

static bool pid_taken(uint32_t pid)
{
    for (struct entry *e = buckets[pid % 256]; e; e = e->next)
        if (e->pid == pid)
            return true;
    return false;
}

int pgcancel_register(struct session *s, const struct pgcancel_upstream *up, size_t key_len,
                      uint32_t *ret_pid, uint8_t *ret_key)
{
    struct entry *e = calloc(1, sizeof *e);

    if (!e)
        return -ENOMEM;
    e->session = session_ref(s);
    e->key_len = key_len;
    e->up = *up;
    e->up.snapshot = policy_snapshot_ref(s->snapshot);
    e->up.target = s->target;
    pthread_mutex_lock(&lock);
    do {
        if (getrandom(&e->pid, sizeof e->pid, 0) != (ssize_t)sizeof e->pid ||
            getrandom(e->key, key_len, 0) != (ssize_t)key_len)
            abort();
        e->pid &= 0x7fffffff;
    } while (e->pid == 0 || pid_taken(e->pid));
    e->next = buckets[e->pid % 256];
    buckets[e->pid % 256] = e;
    *ret_pid = e->pid;
    memcpy(ret_key, e->key, key_len);
    pthread_mutex_unlock(&lock);
    return 0;
}

void pgcancel_forget(struct session *s)
{
    struct entry *found = NULL;

    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < ARRAY_LEN(buckets) && !found; i++) {
        for (struct entry **at = &buckets[i]; *at; at = &(*at)->next) {
            if ((*at)->session == s) {
                found = *at;
                *at = found->next;
                break;
            }
        }
    }
    pthread_mutex_unlock(&lock);
    if (!found)
        return;
    policy_snapshot_unref(found->up.snapshot);
    OPENSSL_cleanse(&found->up, sizeof found->up);
    free(found);
    session_unref(s);
}

struct session *pgcancel_find(uint32_t pid, struct bytes key, struct pgcancel_upstream *ret)
{
    struct session *s = NULL;

    pthread_mutex_lock(&lock);
    for (struct entry *e = buckets[pid % 256]; e; e = e->next) {
        if (e->pid == pid && e->key_len == key.len && CRYPTO_memcmp(e->key, key.p, key.len) == 0) {
            s = session_ref(e->session);
            *ret = e->up;
            policy_snapshot_ref(ret->snapshot);
            break;
        }
    }
    pthread_mutex_unlock(&lock);
    return s;
}
