package pushrpc

import "time"

// WithSilence is how long a stream may be silent before it is reopened.
func WithSilence(silenceMax time.Duration) Option {
	return func(s *settings) error {
		s.silenceMax = silenceMax
		return nil
	}
}

const (
	ServiceConfig = serviceConfig
	UnansweredMax = unansweredMax
)
