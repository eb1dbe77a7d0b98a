package cli

import (
	"context"

	"github.com/spf13/cobra"

	"tandem/internal/client"
)

func (p *program) settingsCommand() *cobra.Command {
	g := p.api("settings", "Settings that a tenant makes himself (as the tenant)")
	g.add(verb{use: "get", short: "Show your settings", args: exactly(), run: func(ctx context.Context, s *session, _ []string) error {
		tenant, err := s.asTenant()
		if err == nil {
			_, err = s.Settings(ctx, tenant)
		}
		return err
	}})
	var set ownSettings
	update := g.add(verb{use: "update", short: "Change your settings; what is not given stays", args: exactly(),
		run: func(ctx context.Context, s *session, _ []string) error {
			tenant, err := s.asTenant()
			if err == nil {
				_, err = s.ChangeSettings(ctx, tenant, set.given(s.cmd))
			}
			return err
		}})
	set.on(update)
	return g.cmd
}

// ownSettings are a tenant's settings as flags.
type ownSettings struct {
	timezone, country, language               string
	maxDuration, ring, ringTotal              int64
	pinLength, soundRetention, retention      int64
	pinFallback, announceRecording            bool
	strangers, strangersForward, strangersURL string
	guards                                    guardFlags
}

func (f *ownSettings) on(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.timezone, "timezone", "", "IANA name, as Asia/Kolkata")
	flags.StringVar(&f.country, "country", "", "ISO 3166 code: whose tones a caller hears")
	flags.StringVar(&f.language, "language", "", "ISO 639-1 code: of the announcements")
	flags.Int64Var(&f.maxDuration, "max-duration", 0, "longest allocation in seconds")
	flags.Int64Var(&f.ring, "ring-seconds", 0, "how long each number is rung")
	flags.Int64Var(&f.ringTotal, "ring-total-seconds", 0, "how long all numbers together are rung")
	flags.Int64Var(&f.pinLength, "pin-length", 0, "digits of a new PIN, 4 to 8")
	flags.BoolVar(&f.pinFallback, "pin-fallback", false, "give GreenVN allocations PINs for calls from another phone")
	flags.StringVar(&f.strangers, "strangers", "", "what a stranger gets: announce, pin, forward, webhook or reject")
	flags.StringVar(&f.strangersForward, "strangers-forward-to", "", "with forward: the number to ring")
	flags.StringVar(&f.strangersURL, "strangers-webhook-url", "", "with webhook: the address to ask")
	flags.BoolVar(&f.announceRecording, "recording-announcement", false, "say that a call is recorded before it is")
	f.guards.on(cmd)
	flags.Int64Var(&f.soundRetention, "recording-retention-days", 0, "how long recordings are kept; 0 is until they are deleted")
	flags.Int64Var(&f.retention, "retention-days", 0, "how long ended allocations, calls and events are kept; 0 is for good")
}

// given holds what the command line names.
func (f *ownSettings) given(cmd *cobra.Command) client.SettingsChange {
	change := client.SettingsChange{Timezone: changed(cmd, "timezone", &f.timezone), Country: changed(cmd, "country", &f.country),
		Language: changed(cmd, "language", &f.language), MaxDuration: changed(cmd, "max-duration", &f.maxDuration),
		RingSeconds: changed(cmd, "ring-seconds", &f.ring), RingTotalSeconds: changed(cmd, "ring-total-seconds", &f.ringTotal),
		PINLength: changed(cmd, "pin-length", &f.pinLength), PINFallback: changed(cmd, "pin-fallback", &f.pinFallback),
		RecordingAnnouncement:  changed(cmd, "recording-announcement", &f.announceRecording),
		RecordingRetentionDays: changed(cmd, "recording-retention-days", &f.soundRetention),
		RetentionDays:          changed(cmd, "retention-days", &f.retention)}
	if policy := (client.StrangerPolicy{Action: f.strangers, ForwardTo: f.strangersForward, WebhookURL: f.strangersURL}); policy != (client.StrangerPolicy{}) {
		change.StrangerPolicy = &policy
	}
	f.guards.given(cmd, &change)
	return change
}
