/* SPDX-License-Identifier: Apache-2.0
 * After 101: the WebSocket of exec and attach, whose streams are recorded and masked, and that of
 * port-forward, which is relayed as it is.
 */
#include "guard.h"

#include <errno.h>

int kubeguard_tunnel(struct kubeguard *g, struct kuberequest *r, struct bytes protocol)
{
    (void)g, (void)r, (void)protocol;
    return -ENOTSUP;
}
