/* SPDX-License-Identifier: Apache-2.0
 * The thread for work that may block.
 */
#include "jobs.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

struct jobs {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct job *first, **last; /* under lock, as what follows */
    bool stopping;
};

static void *jobs_main(void *arg)
{
    struct jobs *j = arg;

    pthread_mutex_lock(&j->lock);
    for (;;) {
        struct job *job = j->first;

        if (!job) {
            if (j->stopping)
                break;
            pthread_cond_wait(&j->more, &j->lock);
            continue;
        }
        j->first = job->next;
        if (!j->first)
            j->last = &j->first;
        pthread_mutex_unlock(&j->lock);
        job->run(job);
        pthread_mutex_lock(&j->lock);
    }
    pthread_mutex_unlock(&j->lock);
    return NULL;
}

int jobs_start(struct jobs **ret, struct error *err)
{
    struct jobs *j = calloc(1, sizeof *j);
    pthread_attr_t attr;
    int rc;

    if (!j)
        return error_set(err, -ENOMEM, "out of memory");
    pthread_mutex_init(&j->lock, NULL);
    pthread_cond_init(&j->more, NULL);
    j->last = &j->first;
    pthread_attr_init(&attr);
    /* Analysing walks trees as deep as the parser lets them be. */
    pthread_attr_setstacksize(&attr, 16 << 20);
    rc = pthread_create(&j->thread, &attr, jobs_main, j);
    pthread_attr_destroy(&attr);
    if (rc) {
        free(j);
        return error_set(err, -rc, "cannot start the job thread: %s", strerror(rc));
    }
    *ret = j;
    return 0;
}

void jobs_stop(struct jobs *j)
{
    if (!j)
        return;
    pthread_mutex_lock(&j->lock);
    j->stopping = true;
    pthread_cond_signal(&j->more);
    pthread_mutex_unlock(&j->lock);
    pthread_join(j->thread, NULL);
    pthread_cond_destroy(&j->more);
    pthread_mutex_destroy(&j->lock);
    free(j);
}

void jobs_post(struct jobs *j, struct job *job)
{
    job->next = NULL;
    pthread_mutex_lock(&j->lock);
    *j->last = job;
    j->last = &job->next;
    pthread_cond_signal(&j->more);
    pthread_mutex_unlock(&j->lock);
}
