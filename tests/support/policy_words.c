/* SPDX-License-Identifier: Apache-2.0
 * Shows what the policy loader knows, for the test that compares it with the schemas in crds/. Each
 * line of standard input is a document (JSON is YAML). Answers, a line each: "ok", or "no TAB
 * reason" and, when the reason is an unknown field or word, TAB and each field or word that the
 * loader would have known: linked with --wrap=suggestion_offer, it sees what the loader offers as
 * "did you mean".
 */
#include <stdio.h>
#include <stdlib.h>

#include "sidecar/policy/policy.h"
#include "sidecar/policy/words.h"

#define MAX_WORDS 128

static const char *words[MAX_WORDS];
static size_t n_words;

void __real_suggestion_offer(struct suggestion *s, const char *known);
void __wrap_suggestion_offer(struct suggestion *s, const char *known);

void __wrap_suggestion_offer(struct suggestion *s, const char *known)
{
    if (n_words == MAX_WORDS)
        abort();
    words[n_words++] = known;
    __real_suggestion_offer(s, known);
}

static void answer(struct bytes document)
{
    struct policy_snapshot *s = NULL;
    struct error err = {0};

    n_words = 0;
    if (policy_load_text(document, "stdin", &s, &err) == 0) {
        puts("ok");
        policy_snapshot_unref(s);
        return;
    }
    for (char *c = err.text; *c; c++) /* it may quote a value with line breaks */
        *c = (unsigned char)*c < ' ' ? '?' : *c;
    printf("no\t%s", err.text);
    for (size_t i = 0; i < n_words; i++)
        printf("\t%s", words[i]);
    putchar('\n');
}

int main(void)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t n;

    while ((n = getline(&line, &room, stdin)) > 0)
        answer(bytes_of(line, (size_t)n));
    free(line);
    return 0;
}
