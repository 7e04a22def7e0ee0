/* SPDX-License-Identifier: Apache-2.0
 * A stand-in for kubectl: a script that writes down how it was called and answers as the test says.
 * What real clusters answer is for e2e/plugin_test.py; here are the ways in which they fail.
 */
#pragma once

#include "run_program.h"

/* `answers` is the inside of a shell script; "$*" are the words that kubectl was given, $n counts
 * the calls from 1. */
static inline void kubectl_answers(const struct fixture *f, const char *answers)
{
    char path[128];
    FILE *file;

    snprintf(path, sizeof path, "%s/args", f->dir);
    unlink(path);
    snprintf(path, sizeof path, "%s/count", f->dir);
    unlink(path);
    snprintf(path, sizeof path, "%s/kubectl", f->dir);
    file = fopen(path, "we");
    assert_non_null(file);
    fprintf(file,
            "#!/bin/sh\ndir=%s\nprintf '%%s\\n' CALL \"$@\" >>$dir/args\n"
            "n=$(grep -c '^CALL$' $dir/args)\n%s\n",
            f->dir, answers);
    assert_int_equal(fchmod(fileno(file), 0700), 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(setenv("KUBECTL", path, 1), 0);
}

/* How kubectl was called: a word a line, CALL before each. Empty: it was not. */
static inline const char *calls(const struct fixture *f)
{
    static char text[65536];
    char path[128];
    FILE *file;
    size_t n;

    snprintf(path, sizeof path, "%s/args", f->dir);
    file = fopen(path, "re");
    n = file ? fread(text, 1, sizeof text - 1, file) : 0;
    text[n] = '\0';
    if (file)
        fclose(file);
    return text;
}

static inline size_t count_calls(const struct fixture *f, const char *word)
{
    size_t n = 0;
    char line[128];

    snprintf(line, sizeof line, "\n%s\n", word);
    for (const char *at = calls(f); (at = strstr(at, line)); at++)
        n++;
    return n;
}

#define CALLED(text)                                                                               \
    do {                                                                                           \
        if (!strstr(calls(f), (text)))                                                             \
            fail_msg("kubectl was not called with \"%s\" but:\n%s", (text), calls(f));             \
    } while (0)

/* ---- objects, as an API server gives them ---- */

#define SPEC(statement)                                                                            \
    "\"spec\":{\"session\":\"S1\",\"pod\":\"coder-0\",\"podUID\":\"u\",\"serviceAccount\":"        \
    "\"coder\","                                                                                   \
    "\"identity\":\"agents/coder\",\"target\":\"orders-db\",\"database\":\"orders\",\"user\":"     \
    "\"agent\",\"policy\":\"agents/p\",\"rule\":\"writes\",\"statement\":\"" statement "\","       \
    "\"effect\":\"Update public.orders\",\"digest\":\"00\",\"delivery\":\"Ticket\","               \
    "\"parameters\":\"[\\\"x\\\\u001b[1m\\\",null]\",\"expiresAt\":\"2999-01-01T00:00:00Z\","      \
    "\"approvers\":{\"groups\":[\"dba\"],\"users\":[\"bob\"]},\"count\":1,\"requireReason\":true," \
    "\"uses\":1,\"validForSeconds\":600}"
#define REQUEST(name, ns, version, created, statement, status)                                     \
    "{\"apiVersion\":\"chaperone.dev/"                                                             \
    "v1alpha1\",\"kind\":\"ApprovalRequest\",\"metadata\":{\"name\":"                              \
    "\"" name "\",\"namespace\":\"" ns "\",\"resourceVersion\":\"" version                         \
    "\",\"creationTimestamp\":\"" created "\"}," SPEC(statement) ",\"status\":" status "}"
#define PENDING "{\"phase\":\"Pending\",\"decisions\":[]}"
#define DECIDED(phase, decision)                                                                   \
    "{\"phase\":\"" phase "\",\"decisions\":[{\"by\":\"alice\",\"groups\":[\"dba\"],\"at\":"       \
    "\"2026-01-01T00:00:00Z\",\"decision\":\"" decision "\",\"reason\":\"because\"}]}"
#define LIST(items) "{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[" items "]}"
/* A here-document: nothing in it means anything to the shell. */
#define SAY(text)  "cat <<'END'\n" text "\nEND\n"
#define FAIL(text) "cat >&2 <<'END'\n" text "\nEND\nexit 1\n"
