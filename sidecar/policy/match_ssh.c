/* SPDX-License-Identifier: Apache-2.0
 * What rules match: the section ssh.
 */
#include "model.h"

#include "decide_ssh.h"

/* A list of words as a set of bits. */
static int parse_bits(const struct place *at, const char *thing, const struct word *words, size_t n,
                      unsigned *ret)
{
    int rc = place_expect(at, NODE_LIST);
    size_t index = 0;

    if (rc)
        return rc;
    if (!at->node->items)
        return place_error(at, "an empty list says nothing; leave the field out or fill it");
    for (const struct node_item *i = at->node->items; i; i = i->next, index++) {
        struct place child = {.up = at, .index = index, .node = i->value, .loader = at->loader};
        unsigned bit = 0;

        if ((rc = place_word(&child, thing, words, n, &bit)))
            return rc;
        *ret |= bit;
    }
    return 0;
}

/* ---- ssh ---- */

static int requests_parse(const struct place *at, void *out)
{
    static const struct word words[] = {
        {"exec", SSH_REQUEST_EXEC}, {"shell", SSH_REQUEST_SHELL}, {"sftp", SSH_REQUEST_SFTP},
        {"pty", SSH_REQUEST_PTY},   {"env", SSH_REQUEST_ENV},     {"forward", SSH_REQUEST_FORWARD},
    };

    return parse_bits(at, "request", words, ARRAY_LEN(words), out);
}

static int access_parse(const struct place *at, void *out)
{
    static const struct word words[] = {
        {"read", SSH_ACCESS_READ}, {"write", SSH_ACCESS_WRITE}, {"delete", SSH_ACCESS_DELETE}};

    return parse_bits(at, "access", words, ARRAY_LEN(words), out);
}

/* One command line. A wildcard for the program itself would be a rule for anything. */
static int template_parse(const struct place *at, void *out)
{
    struct array *ret = out;
    const char *const *words;
    int rc = place_parse_strings(at, out);

    if (rc)
        return rc;
    words = ret->items;
    if (strchr(words[0], '*') || strcmp(words[0], "...") == 0)
        return place_error(at, "the first word is the program, without wildcards");
    for (size_t i = 0; i + 1 < ret->n; i++) {
        if (strcmp(words[i], "...") == 0)
            return place_error(at, "'...' stands for the remaining words, and only at the end");
    }
    return 0;
}

int match_parse_argv(const struct place *at, void *out)
{
    static const struct array_of of = {sizeof(struct array), template_parse, false};

    return place_array(at, &of, out);
}

static int path_parse(const struct place *at, void *out)
{
    const char **ret = out;
    const char *t;
    int rc = place_text(at, ret);

    if (rc)
        return rc;
    if (*at->node->text != '/')
        return place_error(at, "'%.80s' is not an absolute path", at->node->text);
    for (t = at->node->text; (t = strchr(t, '/')); t++) {
        if (t[1] == '/' || strncmp(t, "/./", 3) == 0 || strncmp(t, "/../", 4) == 0 ||
            strcmp(t, "/.") == 0 || strcmp(t, "/..") == 0)
            return place_error(at, "'%.80s' has empty parts, '.' or '..'", at->node->text);
    }
    return 0;
}

static int paths_parse(const struct place *at, void *out)
{
    static const struct array_of of = {sizeof(const char *), path_parse, false};

    return place_array(at, &of, out);
}

static int hazards_parse(const struct place *at, void *out)
{
    return parse_bits(at, "hazard", ssh_hazard_words, SSH_N_HAZARD_WORDS, out);
}

static int output_parse(const struct place *at, void *out)
{
    static const struct word words[] = {{"Masked", false}, {"AsIs", true}};

    return place_word(at, "word", words, ARRAY_LEN(words), out);
}

static int check_ssh(const struct place *at, const struct ssh_match *m)
{
    struct place found;

    if (!(m->requests & SSH_REQUEST_EXEC) && place_find(at, "argv", &found))
        return place_error(&found, "only with the request exec");
    if (!(m->requests & SSH_REQUEST_EXEC) && place_find(at, "hazards", &found))
        return place_error(&found, "only with the request exec");
    if (m->argv.n && m->hazards && place_find(at, "hazards", &found))
        return place_error(&found, "a rule has argv or hazards; make it two rules");
    if (!(m->requests & SSH_REQUEST_SFTP) && place_find(at, "paths", &found))
        return place_error(&found, "only with the request sftp");
    if (!(m->requests & SSH_REQUEST_SFTP) && place_find(at, "access", &found))
        return place_error(&found, "only with the request sftp");
    return 0;
}

int match_parse_ssh(const struct place *at, void *out)
{
    static const struct field fields[] = {
        {"requests", requests_parse, offsetof(struct ssh_match, requests), .required = true},
        {"argv", match_parse_argv, offsetof(struct ssh_match, argv)},
        {"paths", paths_parse, offsetof(struct ssh_match, paths)},
        {"access", access_parse, offsetof(struct ssh_match, access)},
        {"hazards", hazards_parse, offsetof(struct ssh_match, hazards)},
        {"output", output_parse, offsetof(struct ssh_match, as_is)},
    };
    struct ssh_match **ret = out;
    int rc;

    *ret = arena_alloc(at->loader->arena, sizeof **ret);
    if (!*ret)
        return place_no_memory(at);
    if ((rc = place_fields(at, fields, ARRAY_LEN(fields), *ret)))
        return rc;
    return check_ssh(at, *ret);
}
