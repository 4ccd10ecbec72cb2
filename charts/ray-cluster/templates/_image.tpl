{{/*
Container images, the one place where a reference is put together.

  include "ray-cluster.image" $
  include "ray-cluster.imagePullSecrets" $
*/}}

{{/*
[registry/]repository[:tag][@digest]. global.imageRegistry wins over image.registry, so that an air-gapped site changes one
value for all charts. A digest alone gets no default tag: it may be another version's, and the tag would lie.
*/}}
{{- define "ray-cluster.image" -}}
{{- $image := .Values.image -}}
{{- with default $image.registry .Values.global.imageRegistry -}}
{{ . }}/
{{- end -}}
{{ $image.repository }}
{{- with default (ternary "" .Chart.AppVersion (ne $image.digest "")) $image.tag -}}
:{{ . }}
{{- end -}}
{{- with $image.digest -}}
@{{ . }}
{{- end -}}
{{- end -}}

{{/* Pull secrets from global.imagePullSecrets and image.pullSecrets, as names or as {name: ...}, each once. Empty if none. */}}
{{- define "ray-cluster.imagePullSecrets" -}}
{{- $secrets := list -}}
{{- range concat (default list .Values.global.imagePullSecrets) (default list .Values.image.pullSecrets) -}}
{{- $secrets = append $secrets (kindIs "string" . | ternary (dict "name" .) .) -}}
{{- end -}}
{{- with uniq $secrets -}}
{{- toYaml . -}}
{{- end -}}
{{- end -}}
