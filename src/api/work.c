#include "api/work.h"

#include <pthread.h>
#include <string.h>

struct api_pool {
    void (*perform)(api_job *job);
    int max_jobs;
    size_t max_bytes;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    api_job *first, **last; // waiting
    int n_jobs;
    size_t n_bytes;
    bool stop;
    int n_threads;
    pthread_t threads[];
};

void api_job_free(api_job *job) {
    if (!job)
        return;
    base_str_free(&job->body);
    base_str_free(&job->reply);
    api_call_free(job->call);
    base_free(job);
}

// NULL: stop.
static api_job *take_job(api_pool *p) {
    pthread_mutex_lock(&p->lock);
    while (!p->first && !p->stop)
        pthread_cond_wait(&p->changed, &p->lock);
    api_job *job = p->stop ? NULL : p->first;
    if (job) {
        p->first = job->next;
        if (!p->first)
            p->last = &p->first;
        p->n_jobs--;
        p->n_bytes -= job->len;
    }
    pthread_mutex_unlock(&p->lock);
    return job;
}

static void *work(void *arg) {
    api_pool *p = arg;
    api_job *job;
    while ((job = take_job(p))) {
        p->perform(job);
        job->done(job->done_arg, job);
    }
    return NULL;
}

int api_pool_create(api_pool **out, int n_threads, int max_jobs, size_t max_bytes,
                    void (*perform)(api_job *job), base_err *err) {
    api_pool *p = base_calloc(1, sizeof *p + (size_t)n_threads * sizeof p->threads[0]);
    p->perform = perform;
    p->max_jobs = max_jobs;
    p->max_bytes = max_bytes;
    p->last = &p->first;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    for (; p->n_threads < n_threads; p->n_threads++) {
        int failed = pthread_create(&p->threads[p->n_threads], NULL, work, p);
        if (failed) {
            api_pool_free(p);
            return base_fail(err, BASE_ERR_RESOURCE, "api: no worker thread: %s", strerror(failed));
        }
    }
    *out = p;
    return 0;
}

void api_pool_free(api_pool *p) {
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->n_threads; i++)
        pthread_join(p->threads[i], NULL);
    while (p->first) {
        api_job *job = p->first;
        p->first = job->next;
        api_job_free(job);
    }
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    base_free(p);
}

bool api_pool_add(api_pool *p, api_job *job) {
    pthread_mutex_lock(&p->lock);
    bool room = p->n_jobs < p->max_jobs && job->len <= p->max_bytes - p->n_bytes;
    if (room) {
        job->next = NULL;
        *p->last = job;
        p->last = &job->next;
        p->n_jobs++;
        p->n_bytes += job->len;
        pthread_cond_signal(&p->changed);
    }
    pthread_mutex_unlock(&p->lock);
    return room;
}
