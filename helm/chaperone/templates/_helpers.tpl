{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{/* Names are fixed: one installation in a cluster, and other parts rely on them (docs/kubernetes.md). */}}
{{- define "chaperone.name" -}}chaperone-webhook{{- end }}
{{- define "chaperone.configuration" -}}zz-chaperone{{- end }}

{{- define "chaperone.selector" -}}
app.kubernetes.io/name: chaperone
app.kubernetes.io/component: webhook
{{- end }}

{{- define "chaperone.labels" -}}
app.kubernetes.io/name: chaperone
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* (dict "root" $ "image" .Values.images.guard) */}}
{{- define "chaperone.image" -}}
{{- $registry := .root.Values.images.registry -}}
{{- $name := ternary .image.repository (printf "%s/%s" $registry .image.repository) (empty $registry) -}}
{{- if .image.digest -}}
{{ $name }}@{{ .image.digest }}
{{- else -}}
{{ $name }}:{{ default .root.Chart.AppVersion .image.tag }}
{{- end -}}
{{- end }}

{{/* Where injection happens: the same for webhooks and admission policies. */}}
{{- define "chaperone.namespaceSelector" -}}
matchLabels:
  chaperone.dev/inject: enabled
matchExpressions:
- key: kubernetes.io/metadata.name
  operator: NotIn
  values: {{ append .Values.excludedNamespaces .Release.Namespace | uniq | toJson }}
{{- end }}

{{/* Mirrors of static pods, which the kubelet has started already; only nodes make them. */}}
{{- define "chaperone.notMirror" -}}
- name: not-a-mirror-pod
  expression: >-
    !(has(request.userInfo.groups) && 'system:nodes' in request.userInfo.groups &&
    has(object.metadata.annotations) && 'kubernetes.io/config.mirror' in object.metadata.annotations)
{{- end }}

{{- define "chaperone.certificateSecret" -}}chaperone-webhook-tls{{- end }}

{{- define "chaperone.injectCA" -}}
{{- if eq .Values.certificates.mode "cert-manager" }}
annotations:
  cert-manager.io/inject-ca-from: {{ .Release.Namespace }}/{{ include "chaperone.certificateSecret" . }}
{{- end }}
{{- end }}

{{/* Bytes of a quantity of the values: 900Mi, 1Gi, 1G, 1.5Gi, 1e9. */}}
{{- define "chaperone.bytes" -}}
{{- $text := kindIs "string" . | ternary . (int64 . | toString) -}}
{{- $number := regexFind "^[0-9.]+" $text -}}
{{- $unit := trimPrefix $number $text -}}
{{- $factors := dict "" 1 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- if not (hasKey $factors $unit) }}{{ fail (printf "%s is no size such as 900Mi or 1Gi" $text) }}{{ end -}}
{{- int64 (mulf (float64 $number) (get $factors $unit)) -}}
{{- end }}

{{/* A spool is full before its volume is: kubelet evicts a pod whose volume is over its limit, and the records with it. */}}
{{- define "chaperone.checkSpool" -}}
{{- $limit := include "chaperone.bytes" .Values.records.spoolLimit | int64 -}}
{{- $volume := include "chaperone.bytes" .Values.guard.spoolSizeLimit | int64 -}}
{{- if ge $limit $volume -}}
{{- fail (printf "records.spoolLimit (%v) has to be below guard.spoolSizeLimit (%v): the volume would be full, and its pod evicted, before statements are refused" .Values.records.spoolLimit .Values.guard.spoolSizeLimit) -}}
{{- end -}}
{{- end }}

{{/* Arguments of the guard: what records are to become, and what the values add. */}}
{{- define "chaperone.guardArgs" -}}
{{- include "chaperone.checkSpool" . -}}
{{- $args := list "--spool-limit" (toString .Values.records.spoolLimit) -}}
{{- with .Values.records.upload -}}
{{- if .bucket -}}
{{- $args = concat $args (list "--upload" (printf "s3://%s/%s" .bucket .prefix) "--s3-region" .region) -}}
{{- with .credentialsSecret }}{{ $args = concat $args (list "--s3-credentials" (printf "/etc/chaperone/secrets/%s" .)) }}{{ end -}}
{{- with .webIdentity }}{{ if .roleARN -}}
{{- $args = concat $args (list "--s3-role" .roleARN "--s3-token" "/var/run/secrets/chaperone-store/token") -}}
{{- with .endpoint }}{{ $args = concat $args (list "--s3-sts" .) }}{{ end -}}
{{- end }}{{ end -}}
{{- with .endpoint }}{{ $args = concat $args (list "--s3-endpoint" .) }}{{ end -}}
{{- with .lock }}{{ $args = concat $args (list "--s3-lock" .) }}{{ end -}}
{{- if eq .style "virtual" }}{{ $args = concat $args (list "--s3-style" .style) }}{{ end -}}
{{- with .encryption }}{{ $args = concat $args (list "--s3-sse" .) }}{{ end -}}
{{- with .rate }}{{ $args = concat $args (list "--upload-rate" (toString .)) }}{{ end -}}
{{- with .encryptTo }}{{ $args = concat $args (list "--encrypt-to-inline" .) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- toJson (concat $args .Values.guard.args) -}}
{{- end }}
