/* SPDX-License-Identifier: Apache-2.0
 * Guards' answers, with libcurl.
 */
#include "guards.h"

#include "src-common/buffer.h"
#include "src-common/clock.h"

#include <curl/curl.h>
#include <stdio.h>

#define MAX_ANSWER  ((size_t)1 << 20)
#define TIMEOUT_MS  3000L
#define DEADLINE_MS 10000
#define MAX_AT_ONCE 64L
#define POLL_MS     200

struct question {
    CURL *curl;
    struct buffer answer;
    const char *uid; /* of the pod */
    char url[128];
};

static size_t receive(char *data, size_t size, size_t n, void *arg)
{
    struct question *q = arg;

    return buffer_append(&q->answer, data, size * n) == 0 ? size * n : 0;
}

static bool prepare(struct question *q, struct json_object *pod, uint16_t port)
{
    const char *ip = value_text(pod, "ip");
    bool six = strchr(ip, ':') != NULL;

    buffer_init(&q->answer, MAX_ANSWER);
    q->uid = value_text(pod, "uid");
    q->curl = curl_easy_init();
    if (!q->curl)
        return false;
    snprintf(q->url, sizeof q->url, "http://%s%.64s%s:%u/policies", six ? "[" : "", ip,
             six ? "]" : "", port);
    curl_easy_setopt(q->curl, CURLOPT_URL, q->url);
    curl_easy_setopt(q->curl, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(q->curl, CURLOPT_PROXY, "");
    curl_easy_setopt(q->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(q->curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(q->curl, CURLOPT_TIMEOUT_MS, TIMEOUT_MS);
    curl_easy_setopt(q->curl, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(q->curl, CURLOPT_WRITEDATA, q);
    curl_easy_setopt(q->curl, CURLOPT_PRIVATE, q);
    return true;
}

static void take_answer(CURLM *multi, const CURLMsg *m, struct json_object *answers)
{
    struct json_object *o = NULL;
    struct question *q = NULL;
    struct error ignored;

    (void)multi;
    curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&q);
    if (m->data.result == CURLE_OK && value_parse(buffer_bytes(&q->answer), &o, &ignored) == 0)
        value_set(answers, q->uid, o);
}

static void run(CURLM *multi, struct json_object *answers)
{
    uint64_t until = clock_mono_ms() + DEADLINE_MS;
    int running = 1, left;
    CURLMsg *m;

    while (running && clock_mono_ms() < until) {
        if (curl_multi_perform(multi, &running) != CURLM_OK)
            return;
        while ((m = curl_multi_info_read(multi, &left)))
            if (m->msg == CURLMSG_DONE)
                take_answer(multi, m, answers);
        if (running)
            curl_multi_poll(multi, NULL, 0, POLL_MS, NULL);
    }
}

struct json_object *guards_ask(struct json_object *pods, uint16_t port)
{
    size_t n = value_n(pods);
    struct question *questions = calloc(n + 1, sizeof *questions);
    struct json_object *answers = json_object_new_object();
    CURLM *multi = curl_multi_init();

    if (questions && answers && multi) {
        curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, MAX_AT_ONCE);
        for (size_t i = 0; i < n; i++) {
            if (prepare(&questions[i], value_item(pods, i), port))
                curl_multi_add_handle(multi, questions[i].curl);
        }
        run(multi, answers);
    }
    for (size_t i = 0; i < n && questions; i++) {
        if (questions[i].curl)
            curl_multi_remove_handle(multi, questions[i].curl);
        curl_easy_cleanup(questions[i].curl);
        buffer_done(&questions[i].answer);
    }
    curl_multi_cleanup(multi);
    free(questions);
    return answers;
}
