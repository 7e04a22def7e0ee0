/* SPDX-License-Identifier: Apache-2.0
 * Decides on an ApprovalRequest: one entry more in status.decisions. Who decided is not in it:
 * admission fills that in from the login.
 */
#include "approvalrequest.h"

#include "approval_view.h"
#include "kubectl.h"
#include "object.h"
#include "text.h"

#include <json-c/json.h>

#define KIND      "approvalrequests.chaperone.dev"
#define ATTEMPTS  6
#define PATCH_MAX ((size_t)64 << 10) /* it is one argument */

#define NO_STAMP                                                                                   \
    "nothing says who made it, because Chaperone's webhook is not in force. See kubectl-guard "    \
    "status"

struct decision {
    const struct cli *cli;
    const char *id;
    struct json_object *entry; /* owned */
};

static struct json_object *make_entry(const char *command, struct json_object *fields)
{
    struct json_object *entry = json_object_new_object(), *v;
    bool approve = strcmp(command, "approve") == 0;

    json_object_object_add(entry, "decision", json_object_new_string(approve ? "Approve" : "Deny"));
    if ((v = object_get(fields, "reason")))
        json_object_object_add(entry, "reason", json_object_get(v));
    if ((v = object_get(fields, "uses")))
        json_object_object_add(entry, "uses", json_object_get(v));
    if ((v = object_get(fields, "forSeconds")))
        json_object_object_add(entry, "validForSeconds", json_object_get(v));
    return entry;
}

static void add_op(struct json_object *patch, const char *op, const char *path,
                   struct json_object *value)
{
    struct json_object *o = json_object_new_object();

    json_object_object_add(o, "op", json_object_new_string(op));
    json_object_object_add(o, "path", json_object_new_string(path));
    json_object_object_add(o, "value", value);
    json_object_array_add(patch, o);
}

/* The test makes sure that what is decided on is what was read. */
static struct json_object *make_patch(struct json_object *object, struct json_object *entry)
{
    struct json_object *patch = json_object_new_array(), *list,
                       *status = object_get(object, "status");
    const char *version = object_text(object_get(object, "metadata"), "resourceVersion");

    add_op(patch, "test", "/metadata/resourceVersion",
           json_object_new_string(version ? version : ""));
    if (object_get(status, "decisions")) {
        add_op(patch, "add", "/status/decisions/-", json_object_get(entry));
        return patch;
    }
    list = json_object_new_array();
    json_object_array_add(list, json_object_get(entry));
    if (status) {
        add_op(patch, "add", "/status/decisions", list);
    } else {
        struct json_object *made = json_object_new_object();

        json_object_object_add(made, "decisions", list);
        add_op(patch, "add", "/status", made);
    }
    return patch;
}

static enum exit_code read_one(const struct decision *d, struct json_object **ret)
{
    struct kubectl_answer a;
    struct kubectl k;
    enum exit_code code = EXIT_DONE;

    kubectl_init(&k, d->cli, KUBECTL_NAMESPACE);
    kubectl_add_all(&k, (const char *const[]){"get", KIND, d->id, "-o", "json", NULL});
    kubectl_run(&k, &a);
    kubectl_done(&k);
    if (a.result == KUBECTL_NOT_FOUND)
        code = cli_fail(EXIT_NO,
                        "there is no request %s here: the ID has to be whole, and the namespace "
                        "is named with -n",
                        d->id);
    else if (a.result != KUBECTL_OK)
        code = kubectl_complain(d->cli, &a);
    else if (!(*ret = json_tokener_parse(a.text)))
        code = cli_fail(EXIT_UNREACHABLE, "kubectl's answer is not understood");
    kubectl_answer_done(&a);
    return code;
}

static enum exit_code check_pending(const struct decision *d, struct json_object *object)
{
    struct json_object *status = object_get(object, "status"), *last = NULL;
    const char *phase = object_text(status, "phase");
    size_t n = object_count(status, "decisions");

    if (!phase || strcmp(phase, "Pending") == 0)
        return EXIT_DONE;
    last = n ? object_at(status, "decisions", n - 1) : NULL;
    if (!object_text(last, "by"))
        return cli_fail(EXIT_NO, "request %s is not pending: %s", d->id, phase);
    return cli_fail(EXIT_NO, "request %s is not pending: %s by %s", d->id, phase,
                    object_text(last, "by"));
}

static void send_patch(const struct decision *d, struct json_object *object,
                       struct kubectl_answer *ret)
{
    struct json_object *patch = make_patch(object, d->entry);
    struct buffer text;
    struct kubectl k;

    /* kubectl reads it as YAML, which knows no "\\/" and breaks lines at U+2028. */
    buffer_init(&text, PATCH_MAX);
    text_clean_json(bytes_str(json_object_to_json_string_ext(
                        patch, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)),
                    &text);

    kubectl_init(&k, d->cli, KUBECTL_NAMESPACE);
    kubectl_add_all(&k, (const char *const[]){"patch", KIND, d->id, "--subresource=status",
                                              "--type=json", "-o", "json", NULL});
    kubectl_addf(&k, "--patch=%.*s", (int)buffer_len(&text), (const char *)buffer_bytes(&text).p);
    kubectl_run(&k, ret);
    kubectl_done(&k);
    buffer_done(&text);
    json_object_put(patch);
}

static bool same_version(struct json_object *a, struct json_object *b)
{
    const char *x = object_text(object_get(a, "metadata"), "resourceVersion"),
               *y = object_text(object_get(b, "metadata"), "resourceVersion");

    return x && y && strcmp(x, y) == 0;
}

/* by and at are required, and nobody but the webhook can fill them in. */
static enum exit_code say_failed(const struct decision *d, const struct kubectl_answer *a)
{
    if (a->result == KUBECTL_INVALID && strstr(a->words, ".by: Required value"))
        return cli_fail(EXIT_NO, "%s is not decided: " NO_STAMP, d->id);
    return kubectl_complain(d->cli, a);
}

/* Admission's words, and what the request asks for. */
static enum exit_code say_refused(const struct decision *d, struct json_object *object,
                                  const struct kubectl_answer *a)
{
    _cleanup_(object_put) struct json_object *view = approvalrequest_view(object);
    struct buffer needs;

    buffer_init(&needs, PATCH_MAX);
    approval_view_needs(view, &needs);
    cli_fail(EXIT_NO, "%s\nRequest %s needs %.*s.", a->words, d->id, (int)buffer_len(&needs),
             (const char *)buffer_bytes(&needs).p);
    buffer_done(&needs);
    return EXIT_NO;
}

/* A refusal is final. A patch that does not fit any more, because somebody else was quicker, is
 * made anew from what is there now. */
static enum exit_code patch_until_it_fits(const struct decision *d, struct json_object **ret)
{
    _cleanup_(object_put) struct json_object *object = NULL;
    enum exit_code code = read_one(d, &object);

    for (int attempt = 1; code == EXIT_DONE; attempt++) {
        _cleanup_(object_put) struct json_object *now = NULL;
        struct kubectl_answer a;

        code = check_pending(d, object);
        if (code != EXIT_DONE)
            break;
        send_patch(d, object, &a);
        if (a.result == KUBECTL_OK) {
            *ret = json_tokener_parse(a.text);
            kubectl_answer_done(&a);
            return *ret ? EXIT_DONE
                        : cli_fail(EXIT_UNREACHABLE, "kubectl's answer is not understood: see "
                                                     "what came of it with show");
        }
        if (a.result == KUBECTL_REFUSED)
            return say_refused(d, object, &a);
        code = read_one(d, &now);
        if (code == EXIT_DONE && same_version(object, now))
            return say_failed(d, &a);
        if (code == EXIT_DONE && attempt == ATTEMPTS)
            return cli_fail(EXIT_NO,
                            "request %s is being changed by others all the time: try again", d->id);
        json_object_put(object);
        object = take(&now);
    }
    return code;
}

/* Should a cluster have stored it without. */
static enum exit_code check_stamp(const struct decision *d, struct json_object *view)
{
    size_t n = object_count(view, "decisions");

    if (n && object_bytes(object_at(view, "decisions", n - 1), "by").len)
        return EXIT_DONE;
    return cli_fail(EXIT_NO, "the decision on %s is stored, but guards do not take it: " NO_STAMP,
                    d->id);
}

static enum exit_code tell(const struct decision *d, const char *command,
                           struct json_object *object)
{
    struct json_object *view = approvalrequest_view(object), *answer = json_object_new_object();
    enum exit_code code;

    json_object_object_add(answer, "approval", view);
    code = check_stamp(d, view);
    if (code == EXIT_DONE)
        code = approval_view_decided(d->cli, command, answer);
    json_object_put(answer);
    return code;
}

enum exit_code approvalrequest_decide(const struct cli *cli, const char *command,
                                      struct json_object *fields)
{
    struct decision d = {.cli = cli, .id = approvalrequest_id(cli->args[0])};
    struct json_object *object = NULL;
    const char *reason = object_text(fields, "reason");
    enum exit_code code;

    if (!kubectl_is_name(d.id))
        code = cli_usage(cli, "\"%s\" is not the ID of a request", d.id);
    else if (reason && strlen(reason) > PATCH_MAX / 8)
        code = cli_usage(cli, "the reason is too long");
    else {
        d.entry = make_entry(command, fields);
        code = patch_until_it_fits(&d, &object);
        json_object_put(d.entry);
    }
    if (code == EXIT_DONE)
        code = tell(&d, command, object);
    json_object_put(object);
    json_object_put(fields);
    return code;
}
