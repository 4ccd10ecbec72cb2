{{/*
Container images, the one place where a reference is put together.

  include "ray-cluster.image" $node                                              the reference
  include "ray-cluster.imageOf" $node | fromJson                                 `image` with the node's own differences
  include "ray-cluster.imagePullSecrets" $

  $node := dict "ctx" $ "values" .Values.head
*/}}

{{/*
`image`, and over it what the node says. A digest pins one image, so that it does not outlive another repository or tag.
*/}}
{{- define "ray-cluster.imageOf" -}}
{{- $own := default dict .values.image -}}
{{- $shared := deepCopy .ctx.Values.image -}}
{{- if or $own.repository $own.tag -}}
{{- $_ := set $shared "digest" "" -}}
{{- end -}}
{{- toJson (mergeOverwrite $shared (deepCopy $own)) -}}
{{- end -}}

{{/*
[registry/]repository[:tag][@digest]. global.imageRegistry wins over image.registry, so that an air-gapped site changes one
value for all charts, but not over an empty one: then the repository names its registry itself. An empty tag is the
cluster's Ray. A digest alone gets no default tag: it may be another version's, and the tag would lie.
*/}}
{{- define "ray-cluster.image" -}}
{{- $image := include "ray-cluster.imageOf" . | fromJson -}}
{{- with $image.registry -}}
{{ default . $.ctx.Values.global.imageRegistry }}/
{{- end -}}
{{ $image.repository }}
{{- with default (ternary "" (include "ray-cluster.ray.version" .ctx) (ne $image.digest "")) $image.tag -}}
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
