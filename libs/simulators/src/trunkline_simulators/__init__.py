"""Independent programs that play Twilio and the OpenAI Realtime API; they import no service."""
