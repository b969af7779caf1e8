"""What all subjects of the app share, without Gradio: workspace, jobs, processes, known models."""
