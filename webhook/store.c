/* SPDX-License-Identifier: Apache-2.0
 * A cache behind a watch. Objects are copied out under the lock: json-c's reference counts are not
 * for several threads.
 */
#include "store.h"

#include "src-common/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>

struct store {
    struct store_config config;
    struct watch *watch;
    pthread_mutex_t lock;
    struct json_object *objects; /* "namespace/name": what is kept */
    bool listed;
};

static void key_of(struct json_object *object, char out[static 512])
{
    snprintf(out, 512, "%.253s/%.253s", value_text(object, "metadata.namespace"),
             value_text(object, "metadata.name"));
}

static void put_object(struct store *s, struct json_object *into, struct json_object *object)
{
    struct json_object *kept = s->config.keep(object);
    char key[512];

    key_of(object, key);
    if (kept)
        json_object_object_add(into, key, kept);
    else
        json_object_object_del(into, key);
}

static void on_replaced(struct json_object *items, void *arg)
{
    struct store *s = arg;
    struct json_object *objects = json_object_new_object(), *old;

    for (size_t i = 0; i < value_n(items) && objects; i++)
        put_object(s, objects, value_item(items, i));
    pthread_mutex_lock(&s->lock);
    old = s->objects;
    s->objects = objects;
    s->listed = objects != NULL;
    pthread_mutex_unlock(&s->lock);
    json_object_put(old);
    s->config.changed(s->config.arg);
}

static void on_changed(enum watch_type type, struct json_object *object, void *arg)
{
    struct store *s = arg;
    char key[512];

    key_of(object, key);
    pthread_mutex_lock(&s->lock);
    if (type == WATCH_DELETED)
        json_object_object_del(s->objects, key);
    else
        put_object(s, s->objects, object);
    pthread_mutex_unlock(&s->lock);
    s->config.changed(s->config.arg);
}

static void on_state(const struct watch_state *state, void *arg)
{
    struct store *s = arg;

    if (!state->up)
        log_warn("controller.watch", F_STR("resource", s->config.place.resource),
                 F_STR("error", state->why));
}

int store_start(const struct store_config *c, struct store **ret, struct error *err)
{
    static const struct watch_ops ops = {on_replaced, on_changed, on_state};
    struct watch_config w = {
        .kube = c->kube, .place = c->place, .label_selector = c->label_selector, .ops = &ops};
    struct store *s = calloc(1, sizeof *s);
    int rc;

    if (!s)
        return error_set(err, -ENOMEM, "out of memory");
    s->config = *c;
    pthread_mutex_init(&s->lock, NULL);
    w.arg = s;
    rc = watch_start(&w, &s->watch, err);
    if (rc) {
        free(s);
        return rc;
    }
    *ret = s;
    return 0;
}

void store_stop(struct store *s)
{
    if (!s)
        return;
    watch_stop(s->watch);
    json_object_put(s->objects);
    free(s);
}

struct json_object *store_copy(struct store *s)
{
    struct json_object *list = NULL;

    pthread_mutex_lock(&s->lock);
    if (s->listed)
        list = json_object_new_array();
    if (list) {
        json_object_object_foreach(s->objects, key, value)
        {
            (void)key;
            json_object_array_add(list, value_copy(value));
        }
    }
    pthread_mutex_unlock(&s->lock);
    return list;
}
