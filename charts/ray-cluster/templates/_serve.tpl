{{/*
Ray Serve: which nodes receive requests, and how they stop doing so.

  include "ray-cluster.servesRequests" $node                                     true, or empty
  include "ray-cluster.servePause" $node                                         seconds
  include "ray-cluster.lifecycle" $node                                          the Ray container's hooks

  $node := dict "ctx" $ "component" "worker" "group" $name "values" $group
*/}}

{{- define "ray-cluster.servesRequests" -}}
{{- if and .ctx.Values.serve.enabled .values.serveProxy -}}
true
{{- end -}}
{{- end -}}

{{/*
How long a node goes on as if nothing had happened after its pod was asked to end. Kubernetes takes the pod out of its
Services at the same moment, but load balancers learn of it later, and what they still send has to find a node that answers.
*/}}
{{- define "ray-cluster.servePause" -}}
{{- include "ray-cluster.servesRequests" . | empty | ternary 0 (int .ctx.Values.serve.preStopSleepSeconds) -}}
{{- end -}}

{{/* The user's hooks, and the pause or an older Ray's drain as preStop unless the user has one. */}}
{{- define "ray-cluster.lifecycle" -}}
{{- $lifecycle := deepCopy (default dict .values.lifecycle) -}}
{{- $pause := include "ray-cluster.servePause" . | int -}}
{{- $drain := include "ray-cluster.drainHook" . | fromYaml -}}
{{- if and (or $pause $drain) (not $lifecycle.preStop) -}}
{{- $_ := set $lifecycle "preStop" (default (dict "sleep" (dict "seconds" $pause)) $drain) -}}
{{- end -}}
{{- toYaml $lifecycle -}}
{{- end -}}
