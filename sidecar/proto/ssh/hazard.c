/* SPDX-License-Identifier: Apache-2.0
 * Commands that do harm, by kind: the shipped rule set of docs/ssh.md. It finds the usual ways to
 * write them, not all; what nobody may do is better not permitted at all.
 */
#include "command.h"

#include <string.h>

/* ---- words ---- */

const char *command_base(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static bool one_of(const char *w, const char *list)
{
    size_t n = strlen(w);

    if (n == 0 || strchr(w, ' ')) /* the empty word is found even behind the list's end */
        return false;
    for (const char *t = list; (t = strstr(t, w)); t++) {
        if ((t == list || t[-1] == ' ') && (t[n] == ' ' || !t[n]))
            return true;
    }
    return false;
}

bool command_is_wrapper(const char *name)
{
    return one_of(name,
                  "sudo doas env nohup nice ionice timeout time xargs command exec builtin "
                  "stdbuf setsid chroot unshare nsenter watch find fd busybox toybox parallel "
                  "strace ltrace script flock taskset chrt systemd-run ssh su runuser pkexec "
                  "if then else elif while until do !");
}

/* -rf, -Rf, --recursive, and a value of the same meaning. */
static bool has_flag(const struct ssh_command *c, const char *letters, const char *word)
{
    for (size_t i = 1; i < c->n; i++) {
        const char *w = c->argv[i];

        if (strcmp(w, "--") == 0)
            return false;
        if (word && strncmp(w, word, strlen(word)) == 0)
            return true;
        if (w[0] == '-' && w[1] != '-' && strpbrk(w + 1, letters))
            return true;
    }
    return false;
}

static bool has_word(const struct ssh_command *c, const char *list)
{
    for (size_t i = 1; i < c->n; i++) {
        if (one_of(c->argv[i], list))
            return true;
    }
    return false;
}

static bool has_prefix(const struct ssh_command *c, const char *prefix)
{
    for (size_t i = 1; i < c->n; i++) {
        if (strncmp(c->argv[i], prefix, strlen(prefix)) == 0)
            return true;
    }
    return false;
}

/* ---- one check for each kind ---- */

static bool delete_tree(const char *name, const struct ssh_command *c)
{
    return (one_of(name, "rm grm srm") && has_flag(c, "rR", "--recursive")) ||
           one_of(name, "shred wipe") || (one_of(name, "find fd") && has_word(c, "-delete")) ||
           (one_of(name, "git") && has_word(c, "clean") && has_flag(c, "f", "--force")) ||
           (one_of(name, "rsync") && has_prefix(c, "--delete"));
}

static bool format_disk(const char *name, const struct ssh_command *c)
{
    return strncmp(name, "mkfs", 4) == 0 ||
           one_of(name, "mke2fs mkswap wipefs fdisk sfdisk gdisk sgdisk parted blkdiscard hdparm "
                        "cryptsetup pvremove vgremove lvremove zpool badblocks") ||
           (one_of(name, "dd dcfldd") && has_prefix(c, "of=/dev/")) ||
           (one_of(name, "tee cp") && has_prefix(c, "/dev/sd"));
}

static bool power_off(const char *name, const struct ssh_command *c)
{
    return one_of(name, "shutdown reboot halt poweroff kexec") ||
           (one_of(name, "init telinit") && has_word(c, "0 1 6 S s")) ||
           (one_of(name, "systemctl loginctl") &&
            has_word(c, "poweroff reboot halt kexec suspend hibernate rescue emergency isolate "
                        "soft-reboot"));
}

static bool privilege(const char *name, const struct ssh_command *c)
{
    return one_of(name, "sudo doas su pkexec runuser setcap nsenter") ||
           (one_of(name, "chmod") &&
            (has_prefix(c, "u+s") || has_prefix(c, "+s") || has_prefix(c, "g+s") ||
             has_prefix(c, "4") || has_prefix(c, "04") || has_prefix(c, "ug+s")));
}

static bool accounts(const char *name, const struct ssh_command *c)
{
    (void)c;
    return one_of(name, "useradd adduser userdel deluser usermod groupadd groupdel groupmod passwd "
                        "chpasswd gpasswd vipw vigr visudo chsh newusers");
}

static bool permissions(const char *name, const struct ssh_command *c)
{
    return (one_of(name, "chmod chown chgrp setfacl") && has_flag(c, "R", "--recursive")) ||
           (one_of(name, "chmod") && has_word(c, "777 0777 a+rwx 666 0666 a+w o+w")) ||
           (one_of(name, "chattr") && has_word(c, "+i -i"));
}

static bool firewall(const char *name, const struct ssh_command *c)
{
    return (one_of(name, "iptables ip6tables iptables-legacy iptables-nft") &&
            (has_flag(c, "FXPD", "--flush") || has_prefix(c, "--delete"))) ||
           (one_of(name, "nft") && has_word(c, "flush delete destroy")) ||
           (one_of(name, "ufw") && has_word(c, "disable reset")) ||
           (one_of(name, "setenforce") && has_word(c, "0 Permissive permissive")) ||
           (one_of(name, "systemctl service") && has_word(c, "firewalld nftables ufw") &&
            has_word(c, "stop disable mask"));
}

static bool kill_all(const char *name, const struct ssh_command *c)
{
    return one_of(name, "killall5") || (one_of(name, "kill") && has_word(c, "-1") && c->n > 2) ||
           (one_of(name, "kill") && has_word(c, "1")) ||
           (one_of(name, "pkill killall") && has_flag(c, "u", "--uid"));
}

static bool hide_tracks(const char *name, const struct ssh_command *c)
{
    return (one_of(name, "history") && has_flag(c, "cw", NULL)) ||
           (one_of(name, "unset") && has_word(c, "HISTFILE")) ||
           (one_of(name, "journalctl") && has_prefix(c, "--vacuum")) ||
           (one_of(name, "auditctl") && has_flag(c, "De", NULL)) ||
           (one_of(name, "truncate") && has_prefix(c, "/var/log")) ||
           (one_of(name, "systemctl service") && has_word(c, "auditd rsyslog syslog-ng") &&
            has_word(c, "stop disable mask"));
}

static bool reverse_shell(const char *name, const struct ssh_command *c)
{
    return (one_of(name, "nc ncat netcat nc.traditional nc.openbsd") &&
            has_flag(c, "ec", "--exec")) ||
           (one_of(name, "socat") && c->n > 1) || has_prefix(c, "/dev/tcp/");
}

static bool is_downloader(const char *name)
{
    return one_of(name, "curl wget fetch aria2c http lynx base64 xxd openssl");
}

static bool is_interpreter(const char *name)
{
    return one_of(name, "sh bash dash ash ksh mksh zsh fish python python2 python3 perl ruby node "
                        "php lua awk source .") ||
           strncmp(name, "python3.", 8) == 0;
}

static const struct {
    unsigned hazard;
    bool (*is)(const char *name, const struct ssh_command *c);
} kinds[] = {
    {HAZARD_DELETE_TREE, delete_tree}, {HAZARD_FORMAT_DISK, format_disk},
    {HAZARD_POWER_OFF, power_off},     {HAZARD_PRIVILEGE, privilege},
    {HAZARD_ACCOUNTS, accounts},       {HAZARD_PERMISSIONS, permissions},
    {HAZARD_FIREWALL, firewall},       {HAZARD_KILL_ALL, kill_all},
    {HAZARD_HIDE_TRACKS, hide_tracks}, {HAZARD_REVERSE_SHELL, reverse_shell},
};

static unsigned hazards_of_one(const struct ssh_command *c)
{
    const char *name = command_base(c->argv[0]);
    unsigned found = 0;

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (kinds[i].is(name, c))
            found |= kinds[i].hazard;
    }
    return found;
}

unsigned hazards_of(const struct pipeline_part *parts, size_t n)
{
    unsigned found = 0;
    bool downloads = false;

    for (size_t i = 0; i < n; i++) {
        const struct ssh_command *c = &parts[i].command;
        const char *name = command_base(c->argv[0]);

        found |= hazards_of_one(c);
        downloads |= is_downloader(name);
        /* What runs whatever comes out of something else. */
        if (downloads && is_interpreter(name))
            found |= HAZARD_PIPE_TO_SHELL;
        if (parts[i].reads_pipe && one_of(name, "sh bash dash ash ksh mksh zsh fish"))
            found |= HAZARD_PIPE_TO_SHELL;
    }
    return found;
}

/* ---- texts that could not be read ---- */

#define LOOSE_WORDS 256

static bool splits(uint8_t c)
{
    return c <= ' ' || c == 0x7f || strchr(";|&()<>{}$`,", c);
}

/* ":(){ :|:& };:" under any name, without its blanks. */
static bool is_fork_bomb(struct bytes text)
{
    const uint8_t *open = memmem(text.p, text.len, "(){", 3);
    const uint8_t *spaced = open ? open : memmem(text.p, text.len, "() {", 4);
    const uint8_t *pipe = spaced ? memchr(spaced, '|', (size_t)(text.p + text.len - spaced)) : NULL;

    return pipe && memchr(pipe, '&', (size_t)(text.p + text.len - pipe));
}

unsigned hazards_in_text(struct bytes text)
{
    char copy[16384];
    const char *words[LOOSE_WORDS + 1];
    size_t n = 0, len = 0;
    bool downloads = false, interprets = false, in_word = false;
    unsigned found = is_fork_bomb(text) ? HAZARD_FORK_BOMB : 0;

    if (text.len >= sizeof copy)
        return HAZARD_ALL;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.p[i];

        if (splits(c)) {
            if (in_word)
                copy[len++] = '\0';
            in_word = false;
        } else if (c != '\'' && c != '"' && c != '\\') {
            if (!in_word && n >= LOOSE_WORDS)
                return HAZARD_ALL;
            if (!in_word)
                words[n++] = copy + len;
            in_word = true;
            copy[len++] = (char)c;
        }
    }
    copy[len] = '\0';
    for (size_t i = 0; i < n; i++) {
        struct ssh_command c = {words + i, n - i};

        found |= hazards_of_one(&c);
        downloads |= is_downloader(command_base(words[i]));
        interprets |= is_interpreter(command_base(words[i])) && strcmp(words[i], ".") != 0;
    }
    return found | (downloads && interprets ? HAZARD_PIPE_TO_SHELL : 0);
}
