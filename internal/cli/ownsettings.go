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
	timezone, country, language          string
	maxDuration, ring, ringTotal         int64
	strategy                             string
	maxCall, allocationCalls, callerRate int64
	endCalls                             bool
	pinLength, soundRetention, retention int64
	pinFallback, announceRecording       bool
	strangers                            strangerFlags
	guards                               guardFlags
}

func (f *ownSettings) on(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.timezone, "timezone", "", "IANA name, as Asia/Kolkata")
	flags.StringVar(&f.country, "country", "", "ISO 3166 code: whose tones a caller hears")
	flags.StringVar(&f.language, "language", "", "ISO 639-1 code: of the announcements")
	flags.Int64Var(&f.maxDuration, "max-duration", 0, "longest allocation in seconds")
	flags.Int64Var(&f.ring, "ring-seconds", 0, "how long each number is rung")
	flags.Int64Var(&f.ringTotal, "ring-total-seconds", 0, "how long all numbers together are rung")
	flags.StringVar(&f.strategy, "ring-strategy", "", "how several numbers are rung: sequential, simultaneous, round_robin or sticky_last")
	flags.Int64Var(&f.maxCall, "max-call-seconds", 0, "longest talk")
	flags.BoolVar(&f.endCalls, "end-calls-with-allocation", false, "end calls when their allocation ends")
	flags.Int64Var(&f.allocationCalls, "max-allocation-calls", 0, "calls of one allocation that are up at once; 0 is any number")
	flags.Int64Var(&f.callerRate, "max-caller-calls-per-minute", 0, "calls of one caller to a number in a minute; 0 is any number")
	flags.Int64Var(&f.pinLength, "pin-length", 0, "digits of a new PIN, 4 to 8")
	flags.BoolVar(&f.pinFallback, "pin-fallback", false, "give GreenVN allocations PINs for calls from another phone")
	f.strangers.on(cmd, "announce, pin, forward, webhook or reject")
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
		RingStrategy: changed(cmd, "ring-strategy", &f.strategy), MaxCallSeconds: changed(cmd, "max-call-seconds", &f.maxCall),
		EndCallsWithAllocation: changed(cmd, "end-calls-with-allocation", &f.endCalls),
		MaxAllocationCalls:     changed(cmd, "max-allocation-calls", &f.allocationCalls),
		MaxCallerRate:          changed(cmd, "max-caller-calls-per-minute", &f.callerRate),
		PINLength:              changed(cmd, "pin-length", &f.pinLength), PINFallback: changed(cmd, "pin-fallback", &f.pinFallback),
		RecordingAnnouncement:  changed(cmd, "recording-announcement", &f.announceRecording),
		RecordingRetentionDays: changed(cmd, "recording-retention-days", &f.soundRetention),
		RetentionDays:          changed(cmd, "retention-days", &f.retention)}
	change.StrangerPolicy = f.strangers.given()
	f.guards.given(cmd, &change)
	return change
}

// strangerFlags are a stranger policy as flags.
type strangerFlags struct{ action, forwardTo, webhookURL string }

func (f *strangerFlags) on(cmd *cobra.Command, actions string) {
	flags := cmd.Flags()
	flags.StringVar(&f.action, "strangers", "", "what a stranger gets: "+actions)
	flags.StringVar(&f.forwardTo, "strangers-forward-to", "", "with forward: the number to ring")
	flags.StringVar(&f.webhookURL, "strangers-webhook-url", "", "with webhook: the address to ask")
}

// given is nil if the command line names no part of it.
func (f *strangerFlags) given() *client.StrangerPolicy {
	policy := client.StrangerPolicy{Action: f.action, ForwardTo: f.forwardTo, WebhookURL: f.webhookURL}
	if policy == (client.StrangerPolicy{}) {
		return nil
	}
	return &policy
}
