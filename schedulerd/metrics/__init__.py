"""What Prometheus reads: every metric is a row of a table (`families`), filled in when somebody asks (`server`)."""
