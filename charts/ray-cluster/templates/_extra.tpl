{{/*
An entry of extraObjects as text: a map or a text, either of which may contain templates.

  include "ray-cluster.extraObject" (dict "ctx" $ "object" $entry)
*/}}
{{- define "ray-cluster.extraObject" -}}
{{- tpl (kindIs "string" .object | ternary .object (toYaml .object)) .ctx -}}
{{- end -}}
