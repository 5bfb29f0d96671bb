"""The public methods that every store has, by what they are about; `stores.base.Store` has them all."""
