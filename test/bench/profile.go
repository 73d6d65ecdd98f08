package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
)

const (
	profileSeconds = 4
	profileBytes   = 32 << 20
)

// profile begins a CPU profile of each service, if the cell is to have any; the
// function it returns waits for them. They cost CPU themselves: a run with
// profiles is for looking, not for figures.
func (c *cell) profile(ctx context.Context, scenario string) func() error {
	if c.profiles == "" || scenario == "drain" { // which stops the processor
		return func() error { return nil }
	}
	errs := make([]error, len(services))
	var all sync.WaitGroup
	for i, service := range services {
		all.Go(func() {
			address := fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", c.stack.AdminURL(service), profileSeconds)
			if err := download(ctx, address, c.profiles+scenario+"-"+service+".pprof"); err != nil {
				errs[i] = fmt.Errorf("profile of %s: %w", service, err)
			}
		})
	}
	return func() error {
		all.Wait()
		return errors.Join(errs...)
	}
}

func download(ctx context.Context, address, path string) (err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", address, resp.Status)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.Copy(f, io.LimitReader(resp.Body, profileBytes))
	return err
}
