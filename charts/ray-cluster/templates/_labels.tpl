{{/*
Labels and annotations. All helpers here take the same arguments; "group" belongs to component "worker" only:

  include "ray-cluster.metadata" (dict "ctx" $ "component" "head" "name" $name "labels" $labels "annotations" $annotations)
  include "ray-cluster.labels" (dict "ctx" $ "component" "head")
  include "ray-cluster.selectorLabels" (dict "ctx" $ "component" "worker" "group" $name)
  include "ray-cluster.podLabels" (dict "ctx" $ "component" "worker" "group" $name "values" $group)
  include "ray-cluster.serveSelectorLabels" $
  include "ray-cluster.releaseSelectorLabels" $

The chart's own labels win over the user's; _validate.tpl refuses the attempt to change them.
*/}}

{{/* The metadata of an object that is not a pod; "labels" and "annotations" are what the user wants on this one alone. */}}
{{- define "ray-cluster.metadata" -}}
name: {{ .name | quote }}
namespace: {{ .ctx.Release.Namespace | quote }}
labels:
  {{- include "ray-cluster.labels" . | nindent 2 }}
{{- with include "ray-cluster.usersOwn" (list .ctx.Values.commonAnnotations .annotations) | fromJson }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The user's labels or annotations: those of all objects, and over them those of one. Null clears. */}}
{{- define "ray-cluster.usersOwn" -}}
{{- $merged := mergeOverwrite (deepCopy (first . | default dict)) (deepCopy (last . | default dict)) -}}
{{- include "ray-cluster.withoutNulls" $merged -}}
{{- end -}}

{{/* The pods that receive requests for Ray Serve, of whatever component and group. */}}
{{- define "ray-cluster.serveSelectorLabels" -}}
{{ include "ray-cluster.releaseSelectorLabels" . }}
ray-cluster/serve: "true"
{{- end -}}

{{/* All pods of the release. */}}
{{- define "ray-cluster.releaseSelectorLabels" -}}
app.kubernetes.io/name: {{ include "ray-cluster.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/*
Labels of selectors. A Deployment's selector cannot be changed once it exists: chart version and users' labels never
belong here. The group's label keeps the groups of a release apart: without it each group's autoscaler would count the
pods of all.
*/}}
{{- define "ray-cluster.selectorLabels" -}}
app.kubernetes.io/name: {{ include "ray-cluster.name" .ctx | quote }}
app.kubernetes.io/instance: {{ .ctx.Release.Name | quote }}
app.kubernetes.io/component: {{ .component | quote }}
{{- with .group }}
ray-cluster/worker-group: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "ray-cluster.labels" -}}
{{- $own := include "ray-cluster.selectorLabels" . | fromYaml -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .ctx.Chart.Name .ctx.Chart.Version | replace "+" "_" | trunc 63) -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" .ctx.Release.Service -}}
{{- with include "ray-cluster.ray.version" .ctx -}}
{{- $_ := set $own "app.kubernetes.io/version" . -}}
{{- end -}}
{{- toYaml (mergeOverwrite (include "ray-cluster.usersOwn" (list .ctx.Values.commonLabels .labels) | fromJson) $own) -}}
{{- end -}}

{{/*
Labels of pods: the selector's and the user's, but not the chart's version, because a new label restarts every pod and a
new chart alone is no reason to restart a head.
*/}}
{{- define "ray-cluster.podLabels" -}}
{{- $users := include "ray-cluster.usersOwn" (list .ctx.Values.commonLabels .values.podLabels) | fromJson -}}
{{- if include "ray-cluster.servesRequests" . -}}
{{- $_ := set $users "ray-cluster/serve" "true" -}}
{{- end -}}
{{- toYaml (mergeOverwrite $users (include "ray-cluster.selectorLabels" . | fromYaml)) -}}
{{- end -}}
