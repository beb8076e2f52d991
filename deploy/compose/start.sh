#!/bin/sh
# Starts a service of docker-compose.yml: with .env's settings, or with those of the simulators when there is no key of
# OpenAI's and the profile `sim` is on. The two are never mixed: a simulated caller must not talk at somebody's cost, and
# the simulators' token, which everybody knows, must not open a gateway that leads to a model that costs.
set -eu

if [ -n "${MODEL:-}" ]; then
  if [ "$1" = sim-twilio ]; then
    echo "start.sh: OPENAI_API_KEY is set, and simulated calls would cost money: docs/compose.md" >&2
    exit 2
  fi
elif getent hosts sim-openai > /dev/null; then
  export OPENAI_API_KEY=simulated OPENAI_REALTIME_URL=ws://sim-openai:8081/v1/realtime
  export OPENAI_REALTIME_MODEL=gpt-realtime-2.1 OPENAI_REALTIME_DIALECT=ga OPENAI_AUTH_HEADER=authorization
  export PUBLIC_URL=https://trunkline.example TWILIO_AUTH_TOKEN=simulated
  export TWILIO_ACCOUNT_SID=AC00000000000000000000000000000000
  if [ "$1" = sim-twilio ]; then
    set -- "$@" --webhook "$PUBLIC_URL/voice" --status-callback "$PUBLIC_URL/voice/status"
  fi
fi

exec trunkline "$@"
