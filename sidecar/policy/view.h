/* SPDX-License-Identifier: Apache-2.0
 * The inside of a view: the selected policies, and what of their words holds together.
 */
#pragma once

#include "model.h"

struct view_policy {
    const struct policy *policy;
    /* Whether its permissions count, when only Enforce policies are asked and when all are. Those
     * of a cluster policy count where no policy of the namespace says more; its refusals and
     * approvals hold always. */
    bool grants, grants_among_all;
};

struct policy_view {
    atomic_uint refs;
    struct policy_snapshot *snapshot;
    struct recording_settings recording;
    struct identity_settings identity;
    uint32_t detectors;
    uint32_t floor_detectors; /* those that cluster policies ask for */
    enum mask_method detector_methods[32];
    struct column_mask *masks;
    size_t n_masks;
    bool any_enforce, any_audit;
    const char *target_name; /* in the snapshot, or as long as the process */
    char nobody[256];        /* why an empty view denies */
    size_t n;
    struct view_policy policies[];
};
