/* SPDX-License-Identifier: Apache-2.0
 * Follows ApprovalRequests: `kubectl get --watch`, begun again when the API server ends it.
 */
#include "approvalrequest.h"

#include "kubectl.h"
#include "object.h"

#include "src-common/clock.h"

#include <json-c/json.h>
#include <stdio.h>

#define OBJECT_MAX  ((size_t)64 << 20)
#define SHORTEST_MS 2000 /* a watch that ends sooner did not work */

struct watch {
    const struct cli *cli;
    void (*print)(const struct cli *cli, struct json_object *view);
    struct json_tokener *tokener;
    struct json_object *seen; /* namespace/name: the resourceVersion that was shown */
    bool broken;
};

static bool is_pending(struct json_object *object)
{
    const char *phase = object_text(object_get(object, "status"), "phase");

    return !phase || strcmp(phase, "Pending") == 0;
}

/* What was decided before we came is no news; what we saw pending and find decided is. */
static void on_event(struct watch *w, struct json_object *event)
{
    struct json_object *object = object_get(event, "object"),
                       *meta = object_get(object, "metadata"), *view;
    const char *type = object_text(event, "type"), *name = object_text(meta, "name"),
               *version = object_text(meta, "resourceVersion"),
               *ns = object_text(meta, "namespace"), *before;
    char key[400];

    if (!type || !name || !version)
        return;
    snprintf(key, sizeof key, "%s/%s", ns ? ns : "", name);
    if (strcmp(type, "DELETED") == 0) {
        json_object_object_del(w->seen, key);
        return;
    }
    before = object_text(w->seen, key);
    if (before && strcmp(before, version) == 0)
        return;
    if (before || is_pending(object) || strcmp(type, "ADDED") != 0) {
        view = approvalrequest_view(object);
        w->print(w->cli, view);
        json_object_put(view);
    }
    json_object_object_add(w->seen, key, json_object_new_string(version));
}

/* kubectl writes one object after the other, over several lines each. */
static void on_data(struct job *job, void *arg)
{
    struct watch *w = arg;

    while (buffer_len(&job->out) > 0 && !w->broken) {
        struct bytes all = buffer_bytes(&job->out);
        struct json_object *o = json_tokener_parse_ex(w->tokener, (const char *)all.p,
                                                      (int)min_size(all.len, INT32_MAX));
        enum json_tokener_error e = json_tokener_get_error(w->tokener);

        if (e != json_tokener_success && e != json_tokener_continue)
            w->broken = true;
        buffer_consume(&job->out, o ? json_tokener_get_parse_end(w->tokener) : all.len);
        if (o)
            on_event(w, o);
        json_object_put(o);
    }
    job->stop = w->broken || job->out.failed;
}

/* One watch, to its end. EXIT_DONE when the API server ended it in due course. */
static enum exit_code watch_once(struct watch *w)
{
    struct job job = {.name = "kubectl", .max = OBJECT_MAX};
    struct kubectl_answer a;
    enum exit_code code = EXIT_DONE;
    struct kubectl k;

    kubectl_init(&k, w->cli, KUBECTL_AS_GIVEN);
    kubectl_add_all(&k, (const char *const[]){"get", "approvalrequests.chaperone.dev", "--watch",
                                              "--output-watch-events", "-o", "json", NULL});
    if (cli_option(w->cli, "all-namespaces"))
        kubectl_add(&k, "--all-namespaces");
    job.argv = k.argv;
    job.interactive = true;
    json_tokener_reset(w->tokener);
    jobs_run(&job, 1, 1, on_data, w);
    if (w->broken)
        code = cli_fail(EXIT_UNREACHABLE, "kubectl's answer is not understood");
    else {
        kubectl_judge(&job, &a);
        if (a.result != KUBECTL_OK)
            code = kubectl_complain(w->cli, &a);
        else if (clock_mono_ms() - job.started_ms < SHORTEST_MS)
            code = cli_fail(EXIT_UNREACHABLE, "the API server ended the watch at once");
    }
    job_done(&job);
    kubectl_done(&k);
    return code;
}

enum exit_code approvalrequest_watch(const struct cli *cli,
                                     void (*print)(const struct cli *cli, struct json_object *view))
{
    struct watch w = {.cli = cli,
                      .print = print,
                      .tokener = json_tokener_new_ex(32),
                      .seen = json_object_new_object()};
    enum exit_code code = w.tokener && w.seen ? EXIT_DONE : EXIT_UNREACHABLE;

    while (code == EXIT_DONE)
        code = watch_once(&w);
    if (w.tokener)
        json_tokener_free(w.tokener);
    json_object_put(w.seen);
    return code;
}
