{{/*
Labels. All helpers here take the same arguments; "group" belongs to component "worker" only:

  include "ray-cluster.labels" (dict "ctx" $ "component" "head")
  include "ray-cluster.selectorLabels" (dict "ctx" $ "component" "worker" "group" $name)
  include "ray-cluster.podLabels" (dict "ctx" $ "component" "worker" "group" $name "values" $group)

The chart's own labels win over commonLabels and podLabels; _validate.tpl refuses the attempt to change them.
*/}}

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
{{- toYaml (mergeOverwrite (deepCopy (default dict .ctx.Values.commonLabels)) $own) -}}
{{- end -}}

{{/*
Labels of pods: the selector's and the user's, but not the chart's version, because a new label restarts every pod and a
new chart alone is no reason to restart a head.
*/}}
{{- define "ray-cluster.podLabels" -}}
{{- $users := mergeOverwrite (deepCopy (default dict .ctx.Values.commonLabels)) (deepCopy (default dict .values.podLabels)) -}}
{{- toYaml (mergeOverwrite $users (include "ray-cluster.selectorLabels" . | fromYaml)) -}}
{{- end -}}
