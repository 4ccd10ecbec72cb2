{{/*
Who may use the cluster: whoever knows its token, which Ray asks for at every port but those for probes and metrics.

  include "ray-cluster.auth.enabled" $                                           true, or empty
  include "ray-cluster.auth.secretName" $                                        the Secret with the token, the chart's or the user's
  include "ray-cluster.auth.secretKey" $                                         the token's key in it
  include "ray-cluster.auth.env" $                                               environment of whatever is Ray, or asks Ray
  include "ray-cluster.auth.token" $                                             what the chart's Secret holds, as base64
  include "ray-cluster.auth.show" $                                              the command that prints the token

The token is in the Secret alone: in no argument, no annotation, no checksum, and not among the values.
*/}}

{{- define "ray-cluster.auth.enabled" -}}
{{- $enabled := .Values.auth.token.enabled -}}
{{- if kindIs "invalid" $enabled -}}
{{- include "ray-cluster.ray.has" (dict "ctx" . "feature" "token") -}}
{{- else if $enabled -}}
true
{{- end -}}
{{- end -}}

{{- define "ray-cluster.auth.secretName" -}}
{{- default (include "ray-cluster.authName" .) .Values.auth.token.existingSecret -}}
{{- end -}}

{{- define "ray-cluster.auth.secretKey" -}}
{{- with .Values.auth.token -}}
{{- ternary "token" .existingSecretKey (empty .existingSecret) -}}
{{- end -}}
{{- end -}}

{{/*
A variable and not a mounted file: each of Ray's processes reads the token when it starts, and a node whose file changed would
not let its own new processes in. A variable changes with the container, and the whole node with it.
*/}}
{{- define "ray-cluster.auth.env" -}}
{{- if include "ray-cluster.auth.enabled" . -}}
- name: RAY_AUTH_MODE
  value: token
- name: RAY_AUTH_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ include "ray-cluster.auth.secretName" . | quote }}
      key: {{ include "ray-cluster.auth.secretKey" . | quote }}
{{- else if include "ray-cluster.ray.has" (dict "ctx" . "feature" "token") -}}
# Where nothing is said, Ray decides by itself, each node on its own.
- name: RAY_AUTH_MODE
  value: disabled
{{- end -}}
{{- end -}}

{{/* 32 random bytes in hexadecimal, once: from then on what is in the cluster. `helm template` sees no cluster. */}}
{{- define "ray-cluster.auth.token" -}}
{{- $live := lookup "v1" "Secret" .Release.Namespace (include "ray-cluster.authName" .) -}}
{{- default (randBytes 32 | b64dec | printf "%x" | b64enc) (dig "data" "token" "" $live) -}}
{{- end -}}

{{- define "ray-cluster.auth.show" -}}
kubectl -n {{ .Release.Namespace }} get secret {{ include "ray-cluster.auth.secretName" . }} -o go-template='{{ printf `{{index .data %q | base64decode}}` (include "ray-cluster.auth.secretKey" .) }}'
{{- end -}}
