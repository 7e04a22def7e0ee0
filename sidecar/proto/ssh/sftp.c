/* SPDX-License-Identifier: Apache-2.0
 * placeholder
 */
#include "sftp.h"
struct sshfile {
    int x;
};
int sshfile_new(struct sshfile **ret)
{
    *ret = calloc(1, sizeof **ret);
    return *ret ? 0 : -12;
}
void sshfile_free(struct sshfile *f)
{
    free(f);
}
void sshfile_from_agent(struct sshfile *f, struct channel *c)
{
    (void)f;
    if (sshflow_settle(&c->in, c->relay->scratch, true)) {
    }
}
void sshfile_from_target(struct sshfile *f, struct channel *c)
{
    (void)f;
    if (sshflow_settle(&c->out, c->relay->scratch, true)) {
    }
}
