/* SPDX-License-Identifier: Apache-2.0
 * Who asks the object store, and where it is: the command line, then the environment, then the
 * files of the AWS CLI.
 */
#include "bucket.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define LINE_MAX_ ((size_t)4096)

static const char *env(const char *name)
{
    const char *v = getenv(name);

    return v && v[0] ? v : NULL;
}

static const char *first_of(const char *a, const char *b)
{
    return a ? a : b;
}

static void set(char *to, size_t size, const char *value)
{
    if (value && !to[0])
        snprintf(to, size, "%s", value);
}

/* ---- files of the AWS CLI ---- */

static void config_path(const char *variable, const char *name, char path[static PATH_MAX])
{
    const char *home = env("HOME");

    path[0] = '\0';
    if (env(variable))
        snprintf(path, PATH_MAX, "%s", env(variable));
    else if (home)
        snprintf(path, PATH_MAX, "%.3900s/.aws/%s", home, name);
}

/* Cuts blanks off both ends. */
static char *trim(char *s)
{
    size_t n;

    while (*s == ' ' || *s == '\t')
        s++;
    n = strlen(s);
    while (n && strchr(" \t\r\n", s[n - 1]))
        s[--n] = '\0';
    return s;
}

/* "[NAME]", or in the other file "[profile NAME]". */
static bool is_section(const char *line, const char *profile)
{
    char want[2][300];

    snprintf(want[0], sizeof want[0], "[%.256s]", profile);
    snprintf(want[1], sizeof want[1], "[profile %.256s]", profile);
    return strcmp(line, want[0]) == 0 || strcmp(line, want[1]) == 0;
}

static void take_setting(struct bucket_login *l, const char *key, const char *value)
{
    const struct {
        const char *key;
        char *to;
        size_t size;
    } settings[] = {
        {"aws_access_key_id", l->keys.access_key, sizeof l->keys.access_key},
        {"aws_secret_access_key", l->keys.secret_key, sizeof l->keys.secret_key},
        {"aws_session_token", l->keys.session_token, sizeof l->keys.session_token},
        {"region", l->region, sizeof l->region},
        {"endpoint_url", l->endpoint, sizeof l->endpoint},
        {"ca_bundle", l->ca_file, sizeof l->ca_file},
    };

    /* Keys stand together: an ID from here with a secret from there opens nothing. */
    for (size_t i = l->from[0] ? 3 : 0; i < ARRAY_LEN(settings); i++)
        if (strcmp(settings[i].key, key) == 0)
            set(settings[i].to, settings[i].size, value);
}

static void read_profile(struct bucket_login *l, const char *path, const char *profile)
{
    FILE *f = path[0] ? fopen(path, "re") : NULL;
    char line[LINE_MAX_];
    bool ours = false;

    while (f && fgets(line, sizeof line, f)) {
        bool nested = line[0] == ' ' || line[0] == '\t';
        char *text = trim(line), *eq = strchr(text, '=');

        if (text[0] == '[')
            ours = is_section(text, profile);
        if (!ours || !eq || nested || text[0] == '#' || text[0] == '[')
            continue;
        *eq = '\0';
        take_setting(l, trim(text), trim(eq + 1));
    }
    explicit_bzero(line, sizeof line);
    if (f)
        fclose(f);
}

/* ---- all of it ---- */

static void from_environment(struct bucket_login *l)
{
    set(l->region, sizeof l->region, first_of(env("AWS_REGION"), env("AWS_DEFAULT_REGION")));
    set(l->endpoint, sizeof l->endpoint,
        first_of(env("AWS_ENDPOINT_URL_S3"), env("AWS_ENDPOINT_URL")));
    set(l->ca_file, sizeof l->ca_file, env("AWS_CA_BUNDLE"));
}

static void keys_from_environment(struct bucket_login *l)
{
    if (!env("AWS_ACCESS_KEY_ID") || !env("AWS_SECRET_ACCESS_KEY"))
        return;
    set(l->keys.access_key, sizeof l->keys.access_key, env("AWS_ACCESS_KEY_ID"));
    set(l->keys.secret_key, sizeof l->keys.secret_key, env("AWS_SECRET_ACCESS_KEY"));
    set(l->keys.session_token, sizeof l->keys.session_token, env("AWS_SESSION_TOKEN"));
    snprintf(l->from, sizeof l->from, "the environment");
}

static int keys_from_directory(struct bucket_login *l, const char *dir, struct error *err)
{
    const struct s3_settings s = {.credentials = dir};
    char ca[PATH_MAX];

    snprintf(ca, sizeof ca, "%.4000s/ca.crt", dir);
    if (access(ca, R_OK) == 0)
        set(l->ca_file, sizeof l->ca_file, ca);
    snprintf(l->from, sizeof l->from, "%.500s", dir);
    return s3_credentials_read(&s, &l->keys, err);
}

static int keys_from_files(struct bucket_login *l, const char *profile, struct error *err)
{
    char credentials[PATH_MAX], config[PATH_MAX];

    config_path("AWS_SHARED_CREDENTIALS_FILE", "credentials", credentials);
    config_path("AWS_CONFIG_FILE", "config", config);
    read_profile(l, credentials, profile);
    if (!l->from[0] && l->keys.access_key[0])
        snprintf(l->from, sizeof l->from, "profile %.100s of %.300s", profile, credentials);
    read_profile(l, config, profile);
    if (l->keys.access_key[0] && l->keys.secret_key[0])
        return 0;
    return error_set(err, -ENOENT,
                     "no credentials for the bucket: not in AWS_ACCESS_KEY_ID and "
                     "AWS_SECRET_ACCESS_KEY, not in profile %.60s of %.200s; name a profile with "
                     "--s3-profile or files with --s3-credentials, or run eval \"$(aws configure "
                     "export-credentials --format env)\"",
                     profile, credentials[0] ? credentials : "~/.aws/credentials");
}

int bucket_login_read(const struct cli *cli, struct bucket_login *ret, struct error *err)
{
    const char *dir = cli_option(cli, "s3-credentials"), *named = cli_option(cli, "s3-profile");
    const char *profile = first_of(named, first_of(env("AWS_PROFILE"), "default"));
    int rc = 0;

    memset(ret, 0, sizeof *ret);
    set(ret->region, sizeof ret->region, cli_option(cli, "s3-region"));
    set(ret->endpoint, sizeof ret->endpoint, cli_option(cli, "s3-endpoint"));
    set(ret->ca_file, sizeof ret->ca_file, cli_option(cli, "s3-ca"));
    from_environment(ret);
    if (dir)
        rc = keys_from_directory(ret, dir, err);
    else if (!named)
        keys_from_environment(ret);
    if (rc == 0)
        rc = keys_from_files(ret, profile, err); /* and the region, whoever has the keys */
    set(ret->region, sizeof ret->region, "us-east-1");
    return rc;
}
