package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/telemetry"
)

// HTTP is a part that serves h on l with bounded headers and times. When
// stopped it takes no new connections and lets requests under way finish.
func HTTP(name string, l net.Listener, h http.Handler, log *zap.Logger) Part {
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 60 * time.Second,
		IdleTimeout: 120 * time.Second, MaxHeaderBytes: 64 << 10, ErrorLog: zap.NewStdLog(log.Named(name)),
	}
	const grace = 10 * time.Second
	return Part{Name: name, Stop: grace + 2*time.Second, Run: func(ctx context.Context) error {
		served := make(chan error, 1)
		go func() { served <- server.Serve(l) }() // ends with Shutdown or Close below
		select {
		case err := <-served:
			return fmt.Errorf("serve %s: %w", l.Addr(), err)
		case <-ctx.Done():
		}
		deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		err := server.Shutdown(deadline)
		if err != nil {
			err = errors.Join(fmt.Errorf("requests on %s did not finish within %s: %w", l.Addr(), grace, err), server.Close())
		}
		<-served
		return err
	}}
}

type notReady struct {
	Part string `json:"part"`
	Why  string `json:"why"`
}

func (p *Process) adminHandler(withPprof bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		missing := p.notReady()
		w.Header().Set("Content-Type", "application/json")
		if len(missing) > 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		// The caller has gone if this fails: there is nobody to tell.
		_ = json.NewEncoder(w).Encode(map[string]any{"ready": len(missing) == 0, "not_ready": missing})
	})
	mux.Handle("GET /metrics", p.env.Metrics.Handler())
	if withPprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}

func (p *Process) notReady() []notReady {
	p.mu.Lock()
	phase, parts := p.phase, p.running
	p.mu.Unlock()
	if phase != "" {
		return []notReady{{Part: p.env.Name, Why: phase}}
	}
	var missing []notReady
	for _, r := range parts {
		if err := r.ready(); err != nil {
			missing = append(missing, notReady{Part: r.part.Name, Why: telemetry.Scrub(err.Error())})
		}
	}
	return missing
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || (ip != nil && ip.IsLoopback()))
}
