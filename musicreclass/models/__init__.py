"""Plain `nn.Module` networks and encoders. They know neither data nor training; `weights` reads the files of others."""
