/* SPDX-License-Identifier: Apache-2.0
 * Waits, and listens to keys.
 */
#include "pace.h"

#include "src-common/clock.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <termios.h>
#include <unistd.h>

#define SPEED_MIN (1.0 / 64)
#define SPEED_MAX 4096.0

static struct termios before; /* for the signal */

static void give_back(int signo)
{
    tcsetattr(STDIN_FILENO, TCSANOW, &before);
    signal(signo, SIG_DFL);
    raise(signo);
}

void pace_start(struct pace *p)
{
    struct termios raw;

    if (p->speed <= 0 || !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) ||
        tcgetattr(STDIN_FILENO, &before) != 0)
        return;
    raw = before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    signal(SIGINT, give_back);
    signal(SIGTERM, give_back);
    signal(SIGHUP, give_back);
    p->keys = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
    if (p->keys)
        fputs("(space pauses, + and - change the speed, n goes on, q ends)\n", stderr);
}

void pace_done(struct pace *p)
{
    if (p->keys)
        tcsetattr(STDIN_FILENO, TCSANOW, &before);
    p->keys = false;
}

static void say(const struct pace *p)
{
    fprintf(stderr, p->paused ? "\r\x1b[7m paused \x1b[m " : "\r\x1b[K(speed %g)\r\n", p->speed);
}

/* True: the wait is over. */
static bool take_key(struct pace *p, char key)
{
    switch (key) {
    case ' ':
        p->paused = !p->paused;
        if (p->paused)
            say(p);
        else
            fputs("\r\x1b[K", stderr);
        return false;
    case '+':
    case '=':
        p->speed = p->speed < SPEED_MAX ? p->speed * 2 : p->speed;
        say(p);
        return false;
    case '-':
        p->speed = p->speed > SPEED_MIN ? p->speed / 2 : p->speed;
        say(p);
        return false;
    case 'n':
    case '\n':
        return true;
    case 'q':
        p->ended = true;
        return true;
    default:
        return false;
    }
}

/* Up to ms milliseconds, or for ever (-1) until a key comes. True: the wait is over. */
static bool wait_for_key(struct pace *p, int ms)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    char key;

    if (poll(p->keys ? &in : NULL, p->keys ? 1 : 0, ms) <= 0)
        return false;
    if (read(STDIN_FILENO, &key, 1) == 1)
        return take_key(p, key);
    p->keys = p->paused = false; /* the terminal has gone */
    return false;
}

bool pace_wait(struct pace *p, uint64_t session_us)
{
    uint64_t left = p->last_us && session_us > p->last_us ? session_us - p->last_us : 0;

    p->last_us = session_us > p->last_us ? session_us : p->last_us;
    if (p->idle_us && left > p->idle_us)
        left = p->idle_us;
    if (p->speed <= 0)
        return true;
    fflush(stdout);
    /* A key may change the speed in the middle: time is taken in small pieces. */
    while ((left || p->paused) && !p->ended) {
        uint64_t at = clock_mono_ms(), spent;
        double ms = (double)left / 1000 / p->speed;

        if (wait_for_key(p, p->paused ? -1 : ms < 1 ? 1 : ms > 50 ? 50 : (int)ms))
            break;
        spent = p->paused ? 0 : (uint64_t)((double)(clock_mono_ms() - at) * 1000 * p->speed);
        left = spent < left ? left - spent : 0;
        if (ms < 1)
            left = 0;
    }
    return !p->ended;
}
